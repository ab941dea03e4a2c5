use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

struct Place {
    root: tempfile::TempDir,
    metrics: Arc<Metrics>,
}

impl Place {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), metrics: Arc::new(Metrics::new(1)) }
    }

    fn source(&self) -> PathBuf {
        self.root.path().join("policy.yaml")
    }

    fn open(&self, keep: usize) -> History {
        let state = self.root.path().join("state");
        let keep = NonZeroUsize::new(keep).unwrap();
        History::open(Some(&state), &self.source(), keep, Arc::clone(&self.metrics))
    }

    fn at(&self, name: &str) -> PathBuf {
        folder_of(&self.root.path().join("state"), &self.source()).join(name)
    }
}

fn files(texts: &[&str]) -> Arc<[KeptFile]> {
    let file = |(index, text): (usize, &&str)| KeptFile {
        path: format!("{index}.yaml").into(),
        bytes: text.as_bytes().into(),
    };
    texts.iter().enumerate().map(file).collect()
}

/// Notes a generation whose digest is its text.
fn apply(history: &History, generation: u64, text: &str) {
    let applied = || (text.to_owned(), "file".to_owned());
    let (digest, trigger) = applied();
    history.record(EventKind::Applied { generation, digest, trigger });
    let (digest, trigger) = applied();
    history.in_force(Applied { generation, digest, trigger }, Some(files(&[text, "shared"])), None);
}

/// Notes that the gateway went back to a policy; its files say something else.
fn roll_back(history: &History, generation: u64, to: u64, digest: &str) {
    let digest = digest.to_owned();
    let pin = Pin { to, files: Some("c".into()), reason: PinReason::Rollback };
    history.record(EventKind::RolledBack { generation, digest: digest.clone(), to });
    history.in_force(Applied { generation, digest, trigger: "rollback".into() }, None, Some(pin));
}

fn kept(history: &History) -> Vec<u64> {
    history.overview().kept.iter().map(|record| record.generation).collect()
}

fn text_of(history: &History, generation: u64) -> String {
    let revived = history.revive(history.find(Some(generation)).unwrap()).unwrap();
    String::from_utf8(revived.files[0].bytes.to_vec()).unwrap()
}

#[test]
fn what_was_in_force_is_there_after_a_restart_and_numbers_go_on() {
    let place = Place::new();
    let history = place.open(3);
    assert_eq!(history.next_number(), 1);
    (1..=5).for_each(|number| apply(&history, number, &format!("text {number}")));
    history.record(EventKind::refused(Some(5), "file".into(), "wrong"));
    assert_eq!(kept(&history), [3, 4, 5]);
    assert_eq!(text_of(&history, 4), "text 4");
    history.close();

    let history = place.open(3);
    assert_eq!((history.next_number(), kept(&history)), (6, vec![3, 4, 5]));
    assert_eq!(text_of(&history, 4), "text 4");
    assert!(history.find(Some(1)).is_err_and(|kept| kept == [3, 4, 5]));
    assert_eq!(history.last_good()[0].generation, 5);
    let events = history.overview().events;
    assert_eq!(events.len(), 6);
    assert!(matches!(&events[5].kind, EventKind::Refused { reason, .. } if reason == "wrong"));
    assert_eq!(fs::read_dir(place.at("blobs")).unwrap().count(), 4, "three texts and what they share");
    assert_eq!(fs::metadata(place.at("")).unwrap().permissions().mode() & 0o777, 0o700);
    let record = fs::metadata(place.at("generations/00000005.json")).unwrap();
    assert_eq!(record.permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_same_policy_is_kept_once_and_found_by_all_its_numbers() {
    let place = Place::new();
    let history = place.open(10);
    apply(&history, 1, "a");
    apply(&history, 2, "b");
    apply(&history, 3, "b");
    assert_eq!(kept(&history), [1, 3]);
    assert_eq!(history.find(Some(2)).unwrap().generation, 3);
    assert_eq!(history.find(None).unwrap().generation, 1);
}

#[test]
fn a_second_step_back_goes_on_from_the_first() {
    let place = Place::new();
    let history = place.open(10);
    ["a", "b", "c"].into_iter().zip(1..).for_each(|(text, number)| apply(&history, number, text));
    assert_eq!(history.find(None).unwrap().generation, 2);
    roll_back(&history, 4, 2, "b");
    assert_eq!(history.find(None).unwrap().generation, 1);
    roll_back(&history, 5, 1, "a");
    assert!(history.find(None).is_err());
    history.close();
    let history = place.open(10);
    assert_eq!(history.pin(), Some(Pin { to: 1, files: Some("c".into()), reason: PinReason::Rollback }));
    assert_eq!(history.last_good()[0].digest, "a", "the one in force is the best");
    // Also if a crash came before the event was written.
    fs::remove_file(place.at("events.jsonl")).unwrap();
    let after_a_crash = place.open(10);
    assert_eq!(after_a_crash.last_good()[0].digest, "a");
    after_a_crash.close();
    history.unpin();
    history.close();
    assert_eq!(place.open(10).pin(), None);
}

/// As in an editor's undo: what was gone back from is not what was before.
#[test]
fn a_policy_that_was_gone_back_from_is_not_the_one_before() {
    let place = Place::new();
    let history = place.open(10);
    let before = |history: &History| history.find(None).ok().map(|record| record.digest.clone());
    apply(&history, 1, "good");
    apply(&history, 2, "bad");
    roll_back(&history, 3, 1, "good");
    assert_eq!(before(&history), None);
    apply(&history, 4, "bad too");
    assert_eq!(before(&history).as_deref(), Some("good"));
    roll_back(&history, 5, 1, "good");
    assert_eq!(before(&history), None);
    // Asked for by its number, it is one again.
    roll_back(&history, 6, 2, "bad");
    assert_eq!(before(&history).as_deref(), Some("good"));
    history.close();
    assert_eq!(before(&place.open(10)).as_deref(), Some("good"));
}

#[test]
fn a_number_beyond_reason_is_damage() {
    let place = Place::new();
    let history = place.open(10);
    apply(&history, 1, "a");
    history.close();
    let path = place.at("current.json");
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("\"generation\":1", &format!("\"generation\":{}", u64::MAX));
    assert!(text.contains(&u64::MAX.to_string()), "{text}");
    fs::write(&path, text).unwrap();
    let history = place.open(10);
    assert_eq!((history.next_number(), kept(&history)), (2, vec![1]));
}

#[test]
fn what_is_torn_or_foreign_is_skipped() {
    let place = Place::new();
    let history = place.open(10);
    ["a", "b", "c"].into_iter().zip(1..).for_each(|(text, number)| apply(&history, number, text));
    history.close();
    let torn = fs::read(place.at("generations/00000003.json")).unwrap();
    fs::write(place.at("generations/00000003.json"), &torn[..torn.len() / 2]).unwrap();
    fs::write(place.at("generations/notes.txt"), "foreign").unwrap();
    fs::write(
        place.at("generations/00000009.json"),
        fs::read(place.at("generations/00000001.json")).unwrap(),
    )
    .unwrap();
    fs::write(place.at("blobs/.new-1"), "half").unwrap();
    let mut events = fs::read(place.at("events.jsonl")).unwrap();
    events.truncate(events.len() - 7);
    fs::write(place.at("events.jsonl"), events).unwrap();
    fs::write(place.at("current.json"), "{").unwrap();

    let history = place.open(10);
    assert_eq!(kept(&history), [1, 2]);
    assert!(!place.at("blobs/.new-1").exists());
    assert_eq!(history.last_good()[0].generation, 2);
    apply(&history, 7, "d");
    history.close();
    let history = place.open(10);
    assert_eq!((kept(&history), history.overview().events.len()), (vec![1, 2, 7], 3));
    assert_eq!(text_of(&history, 7), "d");
}

#[test]
fn a_damaged_file_is_not_put_in_force() {
    let place = Place::new();
    let history = place.open(10);
    apply(&history, 1, "a");
    history.close();
    let history = place.open(10);
    let record = history.find(Some(1)).unwrap();
    fs::write(place.at("blobs").join(&record.files[0].sha256), "b").unwrap();
    assert!(matches!(history.revive(record), Err(DiskError::Damaged(_))));
}

/// Such as a disk that is full, or a folder that someone else has made.
#[test]
fn a_folder_that_cannot_be_written_costs_only_what_is_on_disk() {
    let place = Place::new();
    fs::write(place.root.path().join("state"), "a file where the folder should be").unwrap();
    let history = place.open(2);
    ["a", "b", "c"].into_iter().zip(1..).for_each(|(text, number)| apply(&history, number, text));
    assert_eq!(text_of(&history, 2), "b");
    assert!(history.overview().problem.unwrap().starts_with("cannot make"));
    fs::remove_file(place.root.path().join("state")).unwrap();
    apply(&history, 4, "d");
    history.close();
    assert!(place.metrics.control().history_failures.get() > 0);
    let history = place.open(2);
    assert_eq!(kept(&history), [3, 4], "what could not be written is written later");
    assert_eq!(text_of(&history, 3), "c");
}

#[test]
fn a_folder_that_others_may_write_is_not_believed() {
    let place = Place::new();
    let history = place.open(2);
    apply(&history, 1, "a");
    history.close();
    fs::set_permissions(place.at(""), fs::Permissions::from_mode(0o770)).unwrap();
    let history = place.open(2);
    assert!(history.last_good().is_empty());
    assert!(history.summary().problem.unwrap().contains("mode 0700"));
}

/// As in an upgrade: the new process runs beside the old one for a while.
#[test]
fn a_second_gateway_takes_over_when_the_first_has_ended() {
    let place = Place::new();
    let first = place.open(10);
    apply(&first, 1, "a");
    let second = place.open(10);
    assert!(second.summary().problem.unwrap().contains("another gateway"));
    apply(&first, 2, "b");
    first.close();
    apply(&second, 3, "c");
    second.close();
    let third = place.open(10);
    assert_eq!((kept(&third), third.next_number()), (vec![1, 2, 3], 4));
}

#[test]
fn without_a_folder_it_is_kept_in_memory() {
    let metrics = Arc::new(Metrics::new(1));
    let history = History::open(None, Path::new("p.yaml"), NonZeroUsize::new(2).unwrap(), metrics);
    ["a", "b", "c"].into_iter().zip(1..).for_each(|(text, number)| apply(&history, number, text));
    assert_eq!((kept(&history), text_of(&history, 2)), (vec![2, 3], "b".to_owned()));
    assert_eq!(history.summary().problem, None);
}

#[test]
fn files_that_cannot_be_written_do_not_fill_the_memory() {
    let metrics = Arc::new(Metrics::new(1));
    let history = History::open(None, Path::new("p.yaml"), NonZeroUsize::new(9).unwrap(), metrics);
    let bytes: Arc<[u8]> = vec![0; UNWRITTEN_MAX / 2].into();
    for generation in 1..=4 {
        let files = [KeptFile { path: "p".into(), bytes: Arc::clone(&bytes) }].into();
        let applied = Applied { generation, digest: generation.to_string(), trigger: "file".into() };
        history.in_force(applied, Some(files), None);
    }
    assert_eq!(kept(&history), [3, 4]);
}

#[test]
fn the_list_of_events_is_bounded() {
    let place = Place::new();
    let history = place.open(1);
    for _ in 0..2000 {
        history.record(EventKind::refused(None, "file".into(), &"x".repeat(1024)));
    }
    history.close();
    assert!(place.open(1).overview().events.len() <= EVENTS_MAX);
}

#[test]
fn a_running_gateway_is_found_by_its_note() {
    let place = Place::new();
    let history = place.open(1);
    let note = GatewayNote { pid: 7, policy: place.source(), address: None, unix: None };
    history.leave_note(note.clone());
    let root = place.root.path().join("state");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while running(&root).is_empty() && std::time::Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(running(&root), [note]);
    history.close();
    assert!(running(&root).is_empty());
}

/// What a full disk may be relieved of before anything is written to it.
#[test]
fn room_is_made_by_what_nobody_would_miss() {
    let place = Place::new();
    let history = place.open(10);
    ["a", "b", "c", "d"].into_iter().zip(1..).for_each(|(text, number)| apply(&history, number, text));
    history.close();
    let disk = Disk::new(place.at(""));
    assert!(disk.take().unwrap());
    let in_force = disk::Current { generation: 1, digest: "a".to_owned(), pin: None };
    disk.write_current(&in_force).unwrap();
    let record = |generation, digest: &str| {
        Arc::new(Record::new(
            generation,
            digest.to_owned(),
            &place.source(),
            "file".to_owned(),
            &files(&[digest]),
        ))
    };
    // The policy of generation 2 is to be written under another number.
    disk.make_room(&[record(4, "d"), record(5, "b")]).unwrap();
    let mut left: Vec<u64> = disk.read().records.iter().map(|record| record.generation).collect();
    left.sort_unstable();
    assert_eq!(left, [1, 2, 4]);
    assert_eq!(fs::read_dir(place.at("blobs")).unwrap().count(), 4, "a, b, d and what they share");
    disk.prune(&[record(4, "d")]).unwrap();
    assert_eq!(disk.read().records.len(), 1);
}
