use super::*;

use std::cell::RefCell;
use std::rc::Rc;

/// A write that the medium may lose until the next flush of the same slot.
#[derive(Clone)]
enum Act {
    Write(usize, u64, Vec<u8>),
    Flush(usize),
}

/// A medium that records what is done to both slots.
struct Disk {
    slot: usize,
    bytes: Vec<u8>,
    acts: Rc<RefCell<Vec<Act>>>,
}

impl Medium for Disk {
    fn read(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        out.copy_from_slice(&self.bytes[at as usize..at as usize + out.len()]);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.bytes[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        self.acts.borrow_mut().push(Act::Write(self.slot, at, bytes.to_vec()));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.acts.borrow_mut().push(Act::Flush(self.slot));
        Ok(())
    }
}

const SIZE: usize = 32 << 10;

fn slots(bytes: &[Vec<u8>; 2]) -> (Slots<Disk>, Rc<RefCell<Vec<Act>>>) {
    let acts = Rc::new(RefCell::new(Vec::new()));
    let disk = |slot: usize| Disk { slot, bytes: bytes[slot].clone(), acts: acts.clone() };
    (Slots([disk(0), disk(1)]), acts)
}

fn image(version: u64) -> Vec<u8> {
    (0..20_000u64).map(|i| (i * 31 + version * 7 + i / 256) as u8).collect()
}

fn digest_of(image: &[u8]) -> [u8; 64] {
    Sha512::digest(image).into()
}

fn install(slots: &mut Slots<Disk>, version: u64) {
    let image = image(version);
    let slot = slots.clear().unwrap();
    for (i, part) in image.chunks(5000).enumerate() {
        slots.fill(slot, part, i as u64 * 5000).unwrap();
    }
    assert!(slots.switch(slot, version, image.len() as u64, digest_of(&image)).unwrap());
}

/// The slots after the acts up to `cut`, with unflushed writes lost in four ways.
fn after_cut(bytes: &[Vec<u8>; 2], acts: &[Act], cut: usize) -> Vec<[Vec<u8>; 2]> {
    let flushed = |slot: usize| acts[..cut].iter().rposition(|a| matches!(a, Act::Flush(s) if *s == slot));
    let mut outcomes = Vec::new();
    // The writes since the last flush that survive: all, none, every second one, and all with half of the one at the cut.
    for way in 0..4 {
        let mut out = bytes.clone();
        for (i, act) in acts[..=cut.min(acts.len() - 1)].iter().enumerate() {
            let Act::Write(slot, at, data) = act else { continue };
            let safe = flushed(*slot).is_some_and(|f| i < f);
            let kept = match way {
                _ if safe => data.len(),
                0 if i < cut => data.len(),
                1 => 0,
                2 if i % 2 == 0 && i < cut => data.len(),
                3 if i < cut => data.len(),
                3 => data.len() / 2,
                _ => 0,
            };
            out[*slot][*at as usize..*at as usize + kept].copy_from_slice(&data[..kept]);
        }
        outcomes.push(out);
    }
    outcomes
}

/// The version of the active slot, whose image must be whole.
fn boots(bytes: &[Vec<u8>; 2]) -> Option<(u64, Standing)> {
    let (slots, _) = slots(bytes);
    let (slot, header) = slots.active().unwrap()?;
    assert_eq!(slots.digest(slot, header.size).unwrap(), digest_of(&image(header.version)));
    Some((header.version, header.standing))
}

fn bytes_of(slots: &Slots<Disk>) -> [Vec<u8>; 2] {
    [slots.0[0].bytes.clone(), slots.0[1].bytes.clone()]
}

/// Does something to the slots, cut at every act, and checks what boots then.
fn cut_everywhere(
    before: &[Vec<u8>; 2],
    act: impl Fn(&mut Slots<Disk>),
    allowed: &[Option<(u64, Standing)>],
) -> [Vec<u8>; 2] {
    let (mut all, acts) = slots(before);
    act(&mut all);
    let acts = acts.borrow().clone();
    assert!(acts.len() > 1);
    for cut in 0..acts.len() {
        for outcome in after_cut(before, &acts, cut) {
            let booted = boots(&outcome);
            assert!(allowed.contains(&booted), "cut at {cut} of {}: {booted:?}", acts.len());
            // The next attempt succeeds.
            let (mut again, _) = slots(&outcome);
            install(&mut again, 9);
            assert_eq!(boots(&bytes_of(&again)), Some((9, Standing::Trying)));
        }
    }
    bytes_of(&all)
}

#[test]
fn a_cut_at_every_write_leaves_old_or_new() {
    use Standing::{Bad, Confirmed, Trying};
    let empty = [vec![0; SIZE], vec![0; SIZE]];
    let confirm = |slots: &mut Slots<Disk>| {
        let (slot, header) = slots.active().unwrap().unwrap();
        slots.mark(slot, &header, Confirmed).unwrap();
    };
    let one = cut_everywhere(&empty, |s| install(s, 1), &[None, Some((1, Trying))]);
    let sure = cut_everywhere(&one, confirm, &[Some((1, Trying)), Some((1, Confirmed))]);
    let two = cut_everywhere(&sure, |s| install(s, 2), &[Some((1, Confirmed)), Some((2, Trying))]);
    let reject = |slots: &mut Slots<Disk>| {
        let (slot, header) = slots.active().unwrap().unwrap();
        slots.mark(slot, &header, Bad).unwrap();
    };
    let back = cut_everywhere(&two, reject, &[Some((2, Trying)), Some((1, Confirmed))]);
    assert_eq!(boots(&back), Some((1, Confirmed)));
    let sure = cut_everywhere(&two, confirm, &[Some((2, Trying)), Some((2, Confirmed))]);
    let three = cut_everywhere(&sure, |s| install(s, 3), &[Some((2, Confirmed)), Some((3, Trying))]);
    assert_eq!(boots(&three), Some((3, Trying)));
}

#[test]
fn a_damaged_image_is_not_switched_to() {
    let (mut slots, _) = slots(&[vec![0; SIZE], vec![0; SIZE]]);
    install(&mut slots, 1);
    let slot = slots.clear().unwrap();
    slots.fill(slot, b"other", 0).unwrap();
    assert!(!slots.switch(slot, 2, 5, [0; 64]).unwrap());
    assert_eq!(slots.active().unwrap().unwrap().1.version, 1);
}
