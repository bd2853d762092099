//! Memory that two processes see: created sealed, mapped whole, cut into a board and slots, copied in and out.
//!
//! The region is sparse. It is created and mapped at its full size once, so it never has to grow: a
//! page costs nothing until it is written, and [`Slot::trim`] gives written pages back.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use thiserror::Error;

use crate::board::{Board, SLOTS_MAX};

/// Largest region. Address space, not memory: it lets two requests in flight carry half of it each,
/// which is a 16-megapixel RGB image as 32-bit floats with room for outputs.
pub const REGION_BYTES_MAX: usize = 1 << 30;

/// Slots begin at multiples of this, so that trimming one never touches its neighbour. It is the
/// largest page size in use on ARM64.
pub const SLOT_ALIGNMENT: usize = 64 * 1024;

/// Why shared memory could not be set up or used.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The kernel refused a step.
    #[error("shared memory: {operation} failed: {source}")]
    System {
        /// The step, as a system call.
        operation: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// A size that cannot be cut into slots.
    #[error(
        "shared memory of {bytes} bytes in {slots} slots: there must be 1 to {SLOTS_MAX} of them, each a multiple of {SLOT_ALIGNMENT} bytes, all of them at most {REGION_BYTES_MAX}"
    )]
    Size {
        /// Size asked for, in bytes.
        bytes: usize,
        /// Number of slots asked for.
        slots: usize,
    },
    /// A received descriptor is no sealed memory of the agreed size.
    #[error("received memory is not sealed against shrinking")]
    NotSealed,
    /// An access outside its slot.
    #[error("{length} bytes at offset {offset} are outside the slot of {slot_bytes} bytes")]
    OutOfBounds {
        /// First byte, from the beginning of the slot.
        offset: u64,
        /// Length in bytes.
        length: u64,
        /// Size of the slot in bytes.
        slot_bytes: usize,
    },
}

/// Names the failed step of a set-up.
fn system(operation: &'static str) -> impl FnOnce(Errno) -> MemoryError {
    move |source| MemoryError::System { operation, source }
}

/// A mapped, sealed memory file.
#[derive(Debug)]
pub struct Region {
    file: OwnedFd,
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread. Every access goes through a `Slot`,
// and slots of one region do not overlap, so the borrow rules of `Slot` order all accesses here.
unsafe impl Send for Region {}
// SAFETY: as above; `Region` itself offers no access to the bytes.
unsafe impl Sync for Region {}

impl Region {
    /// Creates and maps `bytes` of zeroed memory that no process can resize any more.
    ///
    /// # Errors
    /// When `bytes` is zero, not a multiple of [`SLOT_ALIGNMENT`] or too large, or the kernel refuses.
    pub fn create(bytes: usize) -> Result<Self, MemoryError> {
        if bytes == 0 || bytes > REGION_BYTES_MAX || !bytes.is_multiple_of(SLOT_ALIGNMENT) {
            return Err(MemoryError::Size { bytes, slots: 1 });
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("millwright-tensors", flags)
            .map_err(system("memfd_create"))?;
        rustix::fs::ftruncate(&file, bytes as u64).map_err(system("ftruncate"))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(system("fcntl(F_ADD_SEALS)"))?;
        Self::map(file, bytes)
    }

    /// Maps memory that the other process created.
    ///
    /// # Errors
    /// When it is not sealed against shrinking, is too large or empty, or the kernel refuses.
    pub fn open(file: OwnedFd) -> Result<Self, MemoryError> {
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(|_| MemoryError::NotSealed)?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(MemoryError::NotSealed);
        }
        let size = rustix::fs::fstat(&file).map_err(system("fstat"))?.st_size;
        let bytes = usize::try_from(size).unwrap_or(usize::MAX);
        if bytes == 0 || bytes > REGION_BYTES_MAX {
            return Err(MemoryError::Size { bytes, slots: 1 });
        }
        Self::map(file, bytes)
    }

    fn map(file: OwnedFd, length: usize) -> Result<Self, MemoryError> {
        // SAFETY: a fresh mapping at an address of the kernel's choice cannot overlap Rust memory. The
        // file cannot shrink (sealed), so every byte of it stays accessible.
        let address = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )
        }
        .map_err(system("mmap"))?;
        let base = NonNull::new(address.cast::<u8>()).ok_or(MemoryError::System {
            operation: "mmap",
            source: Errno::NOMEM,
        })?;
        Ok(Self { file, base, length })
    }

    /// The descriptor to hand to the other process.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Size in bytes.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Cuts the region into its board and `count` equal slots. Both processes do this with the same count.
    ///
    /// # Errors
    /// When the slots would not be multiples of [`SLOT_ALIGNMENT`].
    pub fn into_parts(self, count: usize) -> Result<(Board, Vec<Slot>), MemoryError> {
        let bytes = self.length.saturating_sub(SLOT_ALIGNMENT);
        if !(1..=SLOTS_MAX).contains(&count)
            || bytes == 0
            || !bytes.is_multiple_of(count)
            || !(bytes / count).is_multiple_of(SLOT_ALIGNMENT)
        {
            return Err(MemoryError::Size {
                bytes,
                slots: count,
            });
        }
        let length = bytes / count;
        let region = Arc::new(self);
        let slots = (0..count)
            .map(|index| Slot {
                region: Arc::clone(&region),
                start: SLOT_ALIGNMENT + index * length,
                length,
            })
            .collect();
        Ok((Board::new(region), slots))
    }

    /// The word at byte `at` of the board, which both processes use as an atomic only.
    pub(crate) fn word(&self, at: usize) -> &AtomicU32 {
        assert!(
            at.is_multiple_of(size_of::<u32>()) && at + size_of::<u32>() <= SLOT_ALIGNMENT,
            "words lie on the board"
        );
        // SAFETY: a mapping begins at a page and every region that is cut has a board of `SLOT_ALIGNMENT` bytes before
        // its slots, so the checked offset is inside it.
        let word = unsafe { self.base.as_ptr().add(at) };
        // SAFETY: the address is aligned to a page plus a multiple of four, stays mapped as long as `self`, and no slot
        // reaches into the board: in both processes it is only ever read and written as an atomic.
        unsafe { AtomicU32::from_ptr(word.cast()) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `base` and `length` are those of the mapping made in `map`, and no slot is left: each
        // holds an `Arc` of this region. A failure would only leak address space.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast::<c_void>(), self.length) };
    }
}

/// One request's part of a region. It cannot be cloned, so that within this process writing (`&mut`)
/// excludes reading. The other process may write at any time: what is read is a copy of whatever was
/// there, possibly torn, and must be validated after the copy.
#[derive(Debug)]
pub struct Slot {
    region: Arc<Region>,
    start: usize,
    length: usize,
}

impl Slot {
    /// Size in bytes.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Copies `bytes` into the slot at `offset`.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`] when they do not fit.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let target = self.address(offset, bytes.len() as u64)?;
        // SAFETY: `address` checked that the range lies in the mapping; `bytes` is Rust memory, which
        // the mapping does not overlap.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        Ok(())
    }

    /// Copies from the slot at `offset` until `into` is full.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`] when the slot ends before.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let source = self.address(offset, into.len() as u64)?;
        // SAFETY: as in `write`, the other way round. Any bit pattern is a valid `u8`.
        unsafe { ptr::copy_nonoverlapping(source, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Appends `length` bytes at `offset` of the slot to `into`, which is not zeroed first.
    ///
    /// # Errors
    /// [`MemoryError::OutOfBounds`], before anything is allocated.
    pub fn append_to(
        &self,
        offset: u64,
        length: u64,
        into: &mut Vec<u8>,
    ) -> Result<(), MemoryError> {
        let source = self.address(offset, length)?;
        // `address` proved that the length is at most that of the slot, a `usize`.
        let count = length as usize;
        into.reserve(count);
        let spare = into.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        // SAFETY: `reserve` made room for `count` bytes at `spare`; the source is checked as in `write`.
        unsafe { ptr::copy_nonoverlapping(source, spare, count) };
        // SAFETY: the `count` bytes after the old length were initialised by the copy.
        unsafe { into.set_len(into.len() + count) };
        Ok(())
    }

    /// Gives the memory behind everything after `keep` bytes back to the system; it reads as zero then.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn trim(&mut self, keep: usize) -> Result<(), MemoryError> {
        let keep = keep.next_multiple_of(SLOT_ALIGNMENT);
        if keep >= self.length {
            return Ok(());
        }
        let from = (self.start + keep) as u64;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.region.file, flags, from, (self.length - keep) as u64)
            .map_err(system("fallocate(PUNCH_HOLE)"))
    }

    /// The address of `length` bytes at `offset`, if they lie in this slot.
    fn address(&self, offset: u64, length: u64) -> Result<*mut u8, MemoryError> {
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.length as u64) {
            return Err(MemoryError::OutOfBounds {
                offset,
                length,
                slot_bytes: self.length,
            });
        }
        // SAFETY: `start + offset <= start + self.length <= region.length`, so the address is inside the
        // mapping or one past its end (for an empty range).
        Ok(unsafe { self.region.base.as_ptr().add(self.start + offset as usize) })
    }
}

#[cfg(test)]
mod tests;
