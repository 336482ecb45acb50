//! Numbers for workers: each one that runs has a slot, and from it its range of ids and its address. A slot is free again
//! when its worker is gone.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// The first machine id that workers use: above what shadow and systemd hand out, below what some file systems misread.
const FIRST_ID: u32 = 0x7000_0000;
/// Ids of one worker.
const IDS: u32 = 65_536;
/// As many as a /20 has addresses besides its own, its broadcast's and its router's, and as many ranges as end before
/// systemd's next reserved one.
const COUNT: u16 = 4092;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u16);

impl Slot {
    /// Never taken by a worker: for trials.
    pub(super) const LAST: Slot = Slot(COUNT);

    /// Ids 0 to 65535 of the worker are these of the machine.
    pub(super) fn first_id(self) -> u32 {
        FIRST_ID + IDS * u32::from(self.0)
    }

    /// Its host in a network of 4,096 addresses.
    pub(super) fn address(self, network: Ipv4Addr) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(network) + 2 + u32::from(self.0))
    }

    /// The slot whose ids begin at `first_id`.
    pub(super) fn of_ids(first_id: u32) -> Option<Slot> {
        let number = u16::try_from(first_id.checked_sub(FIRST_ID)? / IDS).ok()?;
        (number < COUNT).then_some(Slot(number))
    }

    /// The slot that a process lives in, by its user namespace.
    pub(super) fn of_process(pid: u32) -> Option<Slot> {
        let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).ok()?;
        let mut fields = map.split_whitespace();
        match (fields.next()?, fields.next()?.parse(), fields.next()?) {
            ("0", Ok(first_id), "65536") => Slot::of_ids(first_id),
            _ => None,
        }
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

pub(super) struct Slots {
    taken: BTreeSet<Slot>,
    next: u16,
}

impl Slots {
    /// All free but those of workers that an earlier gateway left, or that another installation runs. Begins at `start`,
    /// so that two installations rarely meet.
    pub(super) fn of_machine(start: u16) -> Slots {
        let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Slots { taken: pids.filter_map(Slot::of_process).collect(), next: start % COUNT }
    }

    /// A free slot, the one after the last that was taken.
    pub(super) fn take(&mut self) -> Option<Slot> {
        let mut numbers = (self.next..COUNT).chain(0..self.next);
        let slot = Slot(numbers.find(|number| !self.taken.contains(&Slot(*number)))?);
        self.next = (slot.0 + 1) % COUNT;
        self.taken.insert(slot);
        Some(slot)
    }

    pub(super) fn hold(&mut self, slot: Slot) {
        self.taken.insert(slot);
    }

    pub(super) fn free(&mut self, slot: Slot) {
        self.taken.remove(&slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_slot_is_taken_twice_until_it_is_free_again() {
        let mut slots = Slots { taken: BTreeSet::new(), next: 4000 };
        let all: BTreeSet<Slot> = std::iter::from_fn(|| slots.take()).collect();
        assert_eq!(all.len(), usize::from(COUNT));
        let one = Slot(7);
        slots.free(one);
        assert_eq!((slots.take(), slots.take()), (Some(one), None));
    }

    #[test]
    fn ids_and_addresses_of_the_last_slot_are_within_their_ranges() {
        let last = Slot(COUNT - 1);
        assert_eq!(Slot::of_ids(last.first_id()), Some(last));
        assert!(Slot::LAST.first_id() + IDS <= 0x7FFE_0000);
        assert_eq!(last.address(Ipv4Addr::new(172, 31, 0, 0)), Ipv4Addr::new(172, 31, 15, 253));
        assert_eq!(Slot::LAST.address(Ipv4Addr::new(172, 31, 0, 0)), Ipv4Addr::new(172, 31, 15, 254));
        assert_eq!(Slot::of_ids(FIRST_ID - 1), None);
        assert_eq!(Slot::of_ids(Slot::LAST.first_id()), None);
    }
}
