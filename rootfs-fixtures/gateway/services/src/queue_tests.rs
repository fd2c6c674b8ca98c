use super::*;

/// A directory that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("gateway-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn entry(id: u64) -> Entry {
    Entry { topic: "sites/a/readings".to_owned(), payload: format!(r#"{{"id":{id}}}"#).into_bytes() }
}

fn open(dir: &Path) -> Queue {
    Queue::open(dir, 1 << 20, 1 << 16).unwrap()
}

fn ids(queue: &mut Queue) -> Vec<u64> {
    let mut ids = Vec::new();
    while let Some((_, entry)) = queue.take().unwrap() {
        ids.push(id_of(&entry.payload).unwrap());
    }
    ids
}

#[test]
fn messages_leave_in_order_and_once() {
    let dir = Scratch::new("order");
    let mut queue = open(&dir.0);
    assert_eq!(queue.store(&[entry(1), entry(2)]).unwrap(), 2);
    assert_eq!(queue.store(&[entry(2), entry(1), entry(3)]).unwrap(), 1);
    assert_eq!(ids(&mut queue), [1, 2, 3]);
    assert!(ids(&mut queue).is_empty());
    assert_eq!(ids(&mut open(&dir.0)), [1, 2, 3]);
}

#[test]
fn finished_messages_do_not_return() {
    let dir = Scratch::new("finished");
    let mut queue = open(&dir.0);
    queue.store(&(1..=9).map(entry).collect::<Vec<_>>()).unwrap();
    for end in 1..=9 {
        let (index, _) = queue.take().unwrap().unwrap();
        queue.finish(index).unwrap();
        assert_eq!(ids(&mut open(&dir.0)), (end + 1..=9).collect::<Vec<_>>());
    }
    assert_eq!(open(&dir.0).waiting(), 0);
}

#[test]
fn a_torn_tail_of_every_length_loses_only_what_is_torn() {
    let dir = Scratch::new("torn");
    let path = segment_path(&dir.0, 0);
    let mut ends = vec![0];
    let mut queue = open(&dir.0);
    for id in 1..=5 {
        queue.store(&[entry(id)]).unwrap();
        ends.push(std::fs::metadata(&path).unwrap().len() as usize);
    }
    drop(queue);
    let bytes = std::fs::read(&path).unwrap();
    for length in 0..=bytes.len() {
        let whole = ends.iter().filter(|&&end| end <= length).count() as u64 - 1;
        // A file system may keep the length and leave zeros, or what was there before.
        let mut zeros = bytes[..length].to_vec();
        zeros.resize(bytes.len() + 20, 0);
        let mut noise = bytes[..length].to_vec();
        noise.resize(bytes.len() + 20, 0xA5);
        for torn in [bytes[..length].to_vec(), zeros, noise] {
            std::fs::write(&path, torn).unwrap();
            let mut queue = open(&dir.0);
            assert_eq!(ids(&mut queue), (1..=whole).collect::<Vec<_>>(), "{length} bytes");
            assert_eq!(
                queue.store(&[entry(whole), entry(whole + 1)]).unwrap(),
                if whole == 0 { 2 } else { 1 }
            );
            let first = if whole == 0 { 0 } else { 1 };
            assert_eq!(ids(&mut open(&dir.0)), (first..=whole + 1).collect::<Vec<_>>(), "{length} bytes");
        }
    }
}

#[test]
fn a_torn_cursor_repeats_messages_and_loses_none() {
    let dir = Scratch::new("cursor");
    let mut queue = open(&dir.0);
    queue.store(&(1..=4).map(entry).collect::<Vec<_>>()).unwrap();
    for _ in 0..3 {
        let (index, _) = queue.take().unwrap().unwrap();
        queue.finish(index).unwrap();
    }
    let path = dir.0.join("cursor");
    let bytes = std::fs::read(&path).unwrap();
    // The last write was the third, into the second place.
    for broken in PLACE..PLACE + record::HEAD + 8 {
        let mut torn = bytes.clone();
        torn[broken] ^= 0xFF;
        std::fs::write(&path, torn).unwrap();
        assert_eq!(ids(&mut open(&dir.0)), [3, 4], "byte {broken}");
    }
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let ids = ids(&mut open(&dir.0));
        assert_eq!(ids.last(), Some(&4), "{length} bytes");
        assert!(ids.is_sorted() && ids.contains(&4));
    }
}

#[test]
fn old_files_are_removed_and_their_ids_remembered() {
    let dir = Scratch::new("roll");
    let mut queue = Queue::open(&dir.0, 1 << 20, 100).unwrap();
    for id in 1..=50 {
        queue.store(&[entry(id)]).unwrap();
        let (index, _) = queue.take().unwrap().unwrap();
        queue.finish(index).unwrap();
    }
    assert!(queue.segments.len() <= 2, "{}", queue.segments.len());
    let mut queue = Queue::open(&dir.0, 1 << 20, 100).unwrap();
    assert_eq!(queue.store(&[entry(1), entry(50), entry(51)]).unwrap(), 1);
    assert_eq!(ids(&mut queue), [51]);
}

#[test]
fn a_full_queue_has_no_room_until_messages_are_finished() {
    let dir = Scratch::new("full");
    let mut queue = Queue::open(&dir.0, 400, 100).unwrap();
    let mut id = 0;
    while queue.has_room() {
        id += 1;
        queue.store(&[entry(id)]).unwrap();
    }
    while let Some((index, _)) = queue.take().unwrap() {
        queue.finish(index).unwrap();
    }
    assert!(queue.has_room());
}

#[test]
fn damage_in_an_old_file_costs_only_its_rest() {
    let dir = Scratch::new("damage");
    let mut queue = Queue::open(&dir.0, 1 << 20, 100).unwrap();
    (1..=20).for_each(|id| assert_eq!(queue.store(&[entry(id)]).unwrap(), 1));
    let path = segment_path(&dir.0, 0);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let ids = ids(&mut Queue::open(&dir.0, 1 << 20, 100).unwrap());
    assert_eq!(ids.len(), 19);
    assert!(ids.is_sorted() && ids.last() == Some(&20));
}
