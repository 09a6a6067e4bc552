//! One SQLite file, by whatever name: who may have it, what becomes of a name that leads elsewhere, and what lies
//! beside it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::harness::{
    Client, Database, block_on, event, events, eventually,
    process::{Process, failure, run, sekali},
    small_disk::SmallDisk,
};

fn url_of(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

async fn serve(file: &Path) -> Process {
    Process::start(Path::new("/"), &["--database-url", &url_of(file)]).ready().await
}

fn refusal(file: &Path, arguments: &[&str]) -> String {
    let url = url_of(file);
    let base = ["serve", "--listen", "127.0.0.1:0", "--log-level", "off", "--database-url", &url];
    failure(&mut sekali(&[&base, arguments].concat()), 1)
}

async fn not_ready_because(client: &Client, reason: &str) {
    eventually(reason, async || {
        let answer = client.get("/readyz").await;
        answer.status == 503 && answer.text.contains(reason)
    })
    .await;
}

fn quietly(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What lies in the folder, sorted.
fn names_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_second_service_is_refused_by_whatever_name_it_reaches_the_file() {
    block_on(async {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        // The first one came by a link that led nowhere yet.
        symlink("one.db", at("dangling.db")).unwrap();
        let process = serve(&at("dangling.db")).await;
        symlink(at("one.db"), at("link.db")).unwrap();
        symlink(folder.path(), at("folder")).unwrap();
        fs::hard_link(at("one.db"), at("hard.db")).unwrap();
        let names = ["one.db", "dangling.db", "link.db", "folder/one.db", "folder/folder/link.db", "hard.db"];
        for name in names {
            let sentence = refusal(&at(name), &[]);
            assert!(sentence.contains("is in use by another sekali"), "{name}: {sentence}");
            assert!(sentence.contains(name), "{sentence}");
        }
        let mut relative = sekali(&["migrate", "--log-level", "off", "--database-url", "sqlite:one.db"]);
        let sentence = failure(relative.current_dir(folder.path()), 1);
        assert!(sentence.contains("one.db is in use by another sekali"), "{sentence}");

        fs::write(at("mount.db"), "").unwrap();
        if quietly(Command::new("mount").arg("--bind").args([at("one.db"), at("mount.db")])) {
            let sentence = refusal(&at("mount.db"), &[]);
            quietly(Command::new("umount").arg("--lazy").arg(at("mount.db")));
            assert!(sentence.contains("is in use by another sekali"), "{sentence}");
        } else {
            eprintln!("nothing can be mounted here");
        }
        process.client.publish_ok(event("t", "a")).await;
        process.kill();
        let sentence = refusal(&at("hard.db"), &[]);
        assert!(sentence.contains("has 2 names (hard links)"), "{sentence}");
        fs::remove_file(at("hard.db")).unwrap();
        assert_eq!(serve(&at("one.db")).await.client.all_events().await.len(), 1);
    });
}

#[test]
fn nothing_is_acknowledged_for_a_file_that_was_removed_or_replaced() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("test.db was removed", |file| fs::remove_file(file).unwrap()),
        ("test.db was replaced by another file", |file| {
            fs::write(file.with_extension("new"), "").unwrap();
            fs::rename(file.with_extension("new"), file).unwrap();
        }),
        ("test.db-wal was removed", |file| fs::remove_file(log_of(file)).unwrap()),
        ("test.db-wal was replaced by another file", |file| {
            fs::copy(log_of(file), file.with_extension("new")).unwrap();
            fs::rename(file.with_extension("new"), log_of(file)).unwrap();
        }),
        ("was removed", |file| {
            let folder = file.parent().unwrap();
            fs::rename(folder, folder.with_extension("moved")).unwrap();
        }),
    ];
    for (reason, change) in changes {
        eprintln!("--- {reason}");
        block_on(async {
            let outer = TempDir::new().unwrap();
            let file = outer.path().join("folder/test.db");
            fs::create_dir(file.parent().unwrap()).unwrap();
            let mut process = serve(&file).await;
            process.client.publish_ok(events("t", ["a", "b"])).await;
            change(&file);
            for id in ["a", "c"] {
                process.client.publish(event("t", id)).await.problem(503);
            }
            not_ready_because(&process.client, reason).await;
            assert_eq!(process.client.get("/health").await.status, 503);
            assert_eq!(process.client.get("/livez").await.status, 200);
            process.signal("TERM");
            assert_eq!(process.wait().code(), Some(0));
            if reason.contains("-wal") {
                let database = Database::at(&url_of(&file));
                assert_eq!(database.number("SELECT count(*) FROM events WHERE event_id <> 'c'").await, 2);
                database.assert_sound().await;
            }
        });
    }
}

fn log_of(file: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", file.display()))
}

#[test]
fn a_file_that_is_put_back_is_served_again() {
    block_on(async {
        let folder = TempDir::new().unwrap();
        let [file, link, aside] = ["test.db", "link.db", "aside"].map(|name| folder.path().join(name));
        symlink(&file, &link).unwrap();
        let process = serve(&link).await;
        process.client.publish_ok(event("t", "a")).await;
        for name in [&file, &link, &log_of(&file)] {
            fs::rename(name, &aside).unwrap();
            process.client.publish(event("t", "b")).await.problem(503);
            not_ready_because(&process.client, "was removed").await;
            fs::rename(&aside, name).unwrap();
            eventually("it is ready", async || process.client.get("/readyz").await.status == 200).await;
        }
        let results = process.client.publish_ok(events("t", ["a", "b", "c"])).await;
        assert_eq!(results[2]["status"], "stored");
        Database::at(&url_of(&file)).assert_sound().await;
    });
}

#[test]
fn after_a_clean_stop_the_one_file_is_whole_and_nothing_lies_beside_it() {
    block_on(async {
        for _ in 0..4 {
            let folder = TempDir::new().unwrap();
            let file = folder.path().join("test.db");
            let mut process = serve(&file).await;
            let reading = process.client.clone();
            let reader = tokio::spawn(async move {
                while reading.send(reading.request("GET", "/events")).await.is_ok() {}
            });
            for batch in 0..3 {
                let ids: Vec<String> = (0..500).map(|id| format!("{batch}-{id}")).collect();
                process.client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
            }
            process.signal("TERM");
            assert_eq!(process.wait().code(), Some(0), "{}", process.log());
            reader.await.unwrap();
            assert_eq!(names_in(folder.path()), ["test.db"]);
            let copy = folder.path().join("copy.db");
            fs::copy(&file, &copy).unwrap();
            let copy = Database::at(&url_of(&copy));
            assert_eq!(copy.number("SELECT count(*) FROM events").await, 1_500);
            copy.assert_sound().await;
        }
    });
}

#[test]
fn without_migrating_nothing_is_made_where_nothing_was() {
    let folder = TempDir::new().unwrap();
    let sentence = refusal(&folder.path().join("test.db"), &["--migrate=false"]);
    assert!(sentence.contains("test.db does not exist: run `sekali migrate`"), "{sentence}");
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
}

#[test]
fn the_database_of_another_program_is_refused_and_left_as_it_was() {
    block_on(async {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("other.db");
        fs::write(&file, "").unwrap();
        Database::at(&url_of(&file)).execute("CREATE TABLE notes (text TEXT)").await;
        let sentence = refusal(&file, &[]);
        assert!(sentence.contains("of another program (it has the table notes)"), "{sentence}");
        let tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table'";
        assert_eq!(Database::at(&url_of(&file)).number(tables).await, 1);
    });
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(quietly(Command::new("mkfifo").arg(&fifo)));
    for place in [fifo.as_path(), folder.path(), Path::new("/dev/null")] {
        let sentence = refusal(place, &[]);
        assert!(sentence.contains("names no file"), "{sentence}");
    }
}

#[test]
fn a_file_system_that_cannot_be_written_is_named_at_once() {
    let disk = SmallDisk::create(8 << 20);
    let file = disk.path().join("test.db");
    assert!(run(&["migrate", "--database-url", &url_of(&file)]).status.success());
    if !quietly(Command::new("mount").args(["-o", "remount,ro"]).arg(disk.path())) {
        return eprintln!("nothing can be mounted here");
    }
    for file in [file, disk.path().join("new.db")] {
        let sentence = refusal(&file, &[]);
        assert!(sentence.contains("cannot be opened for writing: Read-only file system"), "{sentence}");
    }
}

#[test]
fn events_are_stored_where_no_folder_for_temporary_files_can_be_written() {
    block_on(async {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_sekali"), folder.path().join("sekali")).unwrap();
        let script =
            "mount --bind \"$0\" /mnt && mount -t tmpfs -o ro none /tmp && mount -t tmpfs -o ro none /var/tmp &&
            mount --bind /usr /usr && mount -o remount,bind,ro /usr && cd /usr && exec \"$@\"";
        let within = |arguments: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", script]).arg(folder.path()).args(arguments);
            for (name, _) in sekali(&[]).get_envs().map(|(name, value)| (name.to_owned(), value)) {
                command.env_remove(name);
            }
            command.env_remove("TMPDIR").env_remove("SQLITE_TMPDIR");
            command
        };
        if !quietly(&mut within(&["true"])) {
            return eprintln!("nothing can be mounted here");
        }
        let url = "sqlite:///mnt/data/test.db";
        let arguments = ["/mnt/sekali", "serve", "--listen", "127.0.0.1:0", "--database-url", url];
        let process = Process::spawn(&mut within(&arguments)).ready().await;
        // Random ids touch many pages, which SQLite keeps aside in case that the statement fails.
        let ids = |numbers: std::ops::Range<u64>| -> Vec<String> {
            numbers.map(|number| format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
        };
        for (numbers, stored) in [(0..10_000, 10_000), (9_999..10_060, 60)] {
            let ids = ids(numbers);
            let results = process.client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
            assert_eq!(results.iter().filter(|result| result["status"] == "stored").count(), stored);
        }
        process.kill();
    });
}

#[test]
fn a_clock_that_was_ahead_once_is_said_once() {
    block_on(async {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("test.db");
        assert!(run(&["migrate", "--database-url", &url_of(&file)]).status.success());
        let mut process = serve(&file).await;
        process.client.publish_ok(event("t", "a")).await;
        assert!(!process.log().contains("in the future"), "{}", process.log());
        process.signal("TERM");
        process.wait();
        let ahead = "UPDATE ledgers SET received_at = received_at + 3600000000";
        Database::at(&url_of(&file)).execute(ahead).await;
        let process = serve(&file).await;
        process.client.publish_ok(event("t", "b")).await;
        process.client.publish_ok(event("t", "c")).await;
        assert_eq!(process.log().matches("received in the future").count(), 1, "{}", process.log());
    });
}
