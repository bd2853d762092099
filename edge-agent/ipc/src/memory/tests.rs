//! Both ends of a region in one process: bounds, seals, slots, trimming.

use proptest::prelude::*;

use super::*;
use crate::board::region_bytes;

/// The same memory mapped twice, as the agent and the worker see it.
fn both_ends(slots: usize) -> (Vec<Slot>, Vec<Slot>) {
    let here = Region::create(region_bytes(slots, 4 * SLOT_ALIGNMENT)).unwrap();
    let there = Region::open(here.file().try_clone_to_owned().unwrap()).unwrap();
    (
        here.into_parts(slots).unwrap().1,
        there.into_parts(slots).unwrap().1,
    )
}

#[test]
fn what_one_end_writes_the_other_reads_in_the_same_slot_only() {
    let (mut agent, worker) = both_ends(2);
    agent[1].write(10, b"tensor").unwrap();
    let mut bytes = Vec::new();
    worker[1].append_to(10, 6, &mut bytes).unwrap();
    assert_eq!(bytes, b"tensor");
    let mut other = [1; 6];
    worker[0].read(10, &mut other).unwrap();
    assert_eq!(other, [0; 6]);
}

#[test]
fn memory_cannot_be_resized_under_the_other_end() {
    let region = Region::create(SLOT_ALIGNMENT).unwrap();
    for size in [0, SLOT_ALIGNMENT as u64 * 2] {
        assert_eq!(rustix::fs::ftruncate(region.file(), size), Err(Errno::PERM));
    }
}

#[test]
fn memory_that_could_shrink_is_refused() {
    let file = rustix::fs::memfd_create("unsealed", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, 4096).unwrap();
    assert!(matches!(Region::open(file), Err(MemoryError::NotSealed)));
    let (socket, _) = crate::ControlSocket::pair().unwrap();
    assert!(matches!(
        Region::open(socket.into()),
        Err(MemoryError::NotSealed)
    ));
}

#[test]
fn trimmed_memory_reads_as_zero_and_the_kept_part_stays() {
    let (mut slots, worker) = both_ends(2);
    let last = slots[0].length() as u64 - 1;
    slots[0].write(0, &[7]).unwrap();
    slots[0].write(last, &[7]).unwrap();
    slots[1].write(0, &[9]).unwrap();
    slots[0].trim(SLOT_ALIGNMENT).unwrap();
    let mut byte = [1];
    for (slot, offset, expected) in [(0, 0, 7), (0, last, 0), (1, 0, 9)] {
        worker[slot].read(offset, &mut byte).unwrap();
        assert_eq!(byte, [expected], "slot {slot} offset {offset}");
    }
}

#[test]
fn sizes_that_do_not_divide_are_refused() {
    for bytes in [0, 1, REGION_BYTES_MAX + SLOT_ALIGNMENT] {
        assert!(matches!(
            Region::create(bytes),
            Err(MemoryError::Size { .. })
        ));
    }
    for slots in [0, 3, SLOTS_MAX + 1] {
        let region = Region::create(region_bytes(2, SLOT_ALIGNMENT)).unwrap();
        let refused = region.into_parts(slots).map(|_| ());
        assert!(matches!(refused, Err(MemoryError::Size { .. })), "{slots}");
    }
    let no_slots = Region::create(SLOT_ALIGNMENT).unwrap();
    assert!(no_slots.into_parts(1).is_err());
}

proptest! {
    #[test]
    fn hostile_offsets_and_lengths_never_leave_the_slot(offset: u64, length: u64, near in 0_u64..10) {
        let (slots, _) = both_ends(2);
        let size = slots[0].length() as u64;
        for (offset, length) in [(offset, length), (size - near, near + 1), (u64::MAX - near, near + 1), (size + 1, 0)] {
            let outside = offset.checked_add(length).is_none_or(|end| end > size);
            let mut bytes = Vec::new();
            let result = slots[0].append_to(offset, length, &mut bytes);
            prop_assert_eq!(result.is_err(), outside);
            prop_assert_eq!(bytes.capacity() == 0, outside || length == 0);
        }
    }
}
