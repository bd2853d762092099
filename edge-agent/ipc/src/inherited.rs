//! Descriptors a process was started with and should not have.

use rustix::fd::RawFd;

/// The first descriptor after standard input, output and error.
const FIRST: RawFd = 3;

/// Closes every descriptor above standard error that somebody left open for this process: whoever started
/// the agent may have left some, and what is open already no sandbox takes away. To be called first thing in
/// `main`, while the process has one thread and owns nothing.
///
/// Where /proc is not mounted it closes nothing.
pub fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // All names are read before the first is closed; the directory's own descriptor is closed by then.
    let open: Vec<RawFd> = names.filter(|number| *number >= FIRST).collect();
    for number in open {
        if std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok() {
            // SAFETY: the process owns no descriptor at this point, so nobody uses this one, and it is open:
            // it was just looked at, and there is no other thread to close it.
            unsafe { rustix::io::close(number) };
        }
    }
}
