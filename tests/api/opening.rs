//! Opening a database, and being refused one: a sentence that says what to do, and exit code 1.

use std::{fs, net::TcpListener, path::Path, process::Command};

use tempfile::TempDir;

use crate::harness::{
    Database, Engine, block_on, event, on_both_databases,
    process::{Process, failure, run, sekali},
};

fn serve(database: &Database, arguments: &[&str]) -> Process {
    let arguments = [&["--database-url", database.url.as_str()], arguments].concat();
    Process::start(Path::new("/"), &arguments)
}

/// `sekali serve` on this database, without its log.
fn quiet(url: &str) -> Command {
    sekali(&["serve", "--listen", "127.0.0.1:0", "--log-level", "off", "--database-url", url])
}

/// The sentence with which this database is refused.
fn refusal(url: &str, arguments: &[&str]) -> String {
    failure(quiet(url).args(arguments), 1)
}

async fn scope_in(database: &Database, process: Process) -> &'static str {
    let process = process.ready().await;
    process.client.publish_ok(event("a", "1")).await;
    let status = process.client.publish_ok(event("b", "1")).await[0]["status"].clone();
    database.assert_sound().await;
    if status == "stored" { "topic" } else { "event-id" }
}

#[test]
fn a_second_service_on_one_sqlite_file_is_refused() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let process = serve(&database, &[]).ready().await;
        let file = database.file().display().to_string();
        for sentence in [
            refusal(&database.url, &[]),
            failure(&mut sekali(&["migrate", "--log-level", "off", "--database-url", &database.url]), 1),
        ] {
            assert!(sentence.contains(&format!("{file} is in use by another sekali")), "{sentence}");
        }
        process.client.publish_ok(event("t", "a")).await;
        process.kill();
        serve(&database, &[]).ready().await.client.publish_ok(event("t", "b")).await;
    });
}

#[test]
fn a_database_keeps_the_scope_that_it_was_created_with() {
    on_both_databases(async |database| {
        assert_eq!(scope_in(&database, serve(&database, &["--dedup-scope", "topic"])).await, "topic");
        let sentence = refusal(&database.url, &["--dedup-scope", "event-id"]);
        assert!(sentence.contains("was created with --dedup-scope topic and keeps it"), "{sentence}");
        assert!(sentence.contains("leave the setting out, or give another database"), "{sentence}");
        let process = serve(&database, &[]).ready().await;
        let again = process.client.publish_ok(event("b", "1")).await;
        assert_eq!(again[0]["status"], "duplicate");
        let other = process.client.publish_ok(event("c", "1")).await;
        assert_eq!(other[0]["status"], "stored");
    });
}

#[test]
fn a_new_database_has_the_scope_event_id() {
    on_both_databases(async |database| {
        assert_eq!(scope_in(&database, serve(&database, &[])).await, "event-id");
        let sentence = refusal(&database.url, &["--dedup-scope", "topic"]);
        assert!(sentence.contains("was created with --dedup-scope event-id and keeps it"), "{sentence}");
    });
}

#[test]
fn a_newer_schema_is_refused() {
    on_both_databases(async |database| {
        assert!(run(&["migrate", "--database-url", &database.url]).status.success());
        let (table, checksum) = match database.engine {
            Engine::Sqlite => ("schema_versions", "x'00'"),
            Engine::Postgres => ("sekali.schema_versions", "'\\x00'"),
        };
        let newer = format!(
            "INSERT INTO {table} (version, description, success, checksum, execution_time)
             VALUES (999, 'of the future', true, {checksum}, 1)"
        );
        database.execute(&newer).await;
        for arguments in [&[][..], &["--migrate=false"]] {
            let sentence = refusal(&database.url, arguments);
            assert!(sentence.contains("has schema version 999, which a newer sekali made"), "{sentence}");
        }
        let migrate = &mut sekali(&["migrate", "--log-level", "off", "--database-url", &database.url]);
        assert!(failure(migrate, 1).contains("has schema version 999"));
    });
}

#[test]
fn a_database_of_version_0_1_is_refused_with_the_way_to_take_its_events_along() {
    on_both_databases(async |database| {
        assert!(run(&["migrate", "--database-url", &database.url]).status.success());
        let (table, checksum) = match database.engine {
            Engine::Sqlite => ("schema_versions", "x'00'"),
            Engine::Postgres => ("sekali.schema_versions", "'\\x00'"),
        };
        database.execute(&format!("UPDATE {table} SET checksum = {checksum} WHERE version = 1")).await;
        let migrate = &mut sekali(&["migrate", "--log-level", "off", "--database-url", &database.url]);
        let refusals =
            [refusal(&database.url, &[]), refusal(&database.url, &["--migrate=false"]), failure(migrate, 1)];
        for sentence in refusals {
            assert!(
                sentence.contains("this database is of sekali 0.1: export it with that version"),
                "{sentence}"
            );
            assert!(sentence.contains("`sekali events --all > f`"), "{sentence}");
            assert!(sentence.contains("then `sekali publish f` into a new one"), "{sentence}");
        }
    });
}

#[test]
fn without_migrating_an_empty_database_is_refused_and_a_migrated_one_served() {
    on_both_databases(async |database| {
        let sentence = refusal(&database.url, &["--migrate=false"]);
        assert!(sentence.contains("run `sekali migrate`"), "{sentence}");
        let migrated = run(&["migrate", "--database-url", &database.url, "--dedup-scope", "topic"]);
        assert_eq!(migrated.status.code(), Some(0));
        let said = String::from_utf8(migrated.stdout).unwrap();
        assert!(said.ends_with(" is up to date\n"), "{said}");
        assert!(run(&["migrate", "--database-url", &database.url]).status.success(), "twice does no harm");
        assert_eq!(scope_in(&database, serve(&database, &["--migrate=false"])).await, "topic");
    });
}

#[test]
fn a_postgres_database_in_another_encoding_is_refused() {
    block_on(async {
        let options = "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
        let database = Database::create_postgres_with(options).await;
        let sentence = refusal(&database.url, &[]);
        assert!(sentence.contains("is encoded in SQL_ASCII"), "{sentence}");
        assert!(sentence.contains("ENCODING 'UTF8'"), "{sentence}");
    });
}

#[test]
fn services_that_start_at_once_on_an_empty_postgres_database_all_come_up() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let starting: Vec<_> = (0..3)
            .map(|_| {
                let arguments = ["--database-url".to_owned(), database.url.clone()];
                tokio::task::spawn_blocking(move || {
                    Process::start(Path::new("/"), &arguments.each_ref().map(String::as_str))
                })
            })
            .collect();
        let mut processes = Vec::new();
        for process in starting {
            processes.push(process.await.unwrap().ready().await);
        }
        for (number, process) in (1..).zip(&processes) {
            let results = process.client.publish_ok(event("t", &number.to_string())).await;
            assert_eq!(results[0]["seq"], number);
        }
        database.assert_sound().await;
    });
}

#[test]
fn what_cannot_be_a_sqlite_database_is_refused() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing");
    let url = format!("sqlite://{}", missing.join("test.db").display());
    let sentence = refusal(&url, &[]);
    assert!(sentence.contains(&format!("the folder {} does not exist", missing.display())), "{sentence}");
    assert!(!missing.exists(), "nothing is made where nothing was");

    let sentence = refusal(&format!("sqlite://{}", folder.path().display()), &[]);
    assert!(sentence.contains("names no file"), "{sentence}");

    for url in ["sqlite::memory:", "sqlite://"] {
        assert!(
            refusal(url, &[]).contains("give a file") || refusal(url, &[]).contains("names no file"),
            "{url}"
        );
    }

    let text = folder.path().join("text.db");
    fs::write(&text, "no database, but a text that is long enough to look like one ".repeat(100)).unwrap();
    let before = fs::read(&text).unwrap();
    let sentence = refusal(&format!("sqlite://{}", text.display()), &[]);
    assert!(sentence.contains("file is not a database"), "{sentence}");
    assert_eq!(fs::read(&text).unwrap(), before, "it is left as it was");
}

#[test]
fn a_sqlite_file_that_cannot_be_written_is_refused() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let read_only = |path: &Path, is: bool| {
            let mut permissions = fs::metadata(path).unwrap().permissions();
            permissions.set_readonly(is);
            fs::set_permissions(path, permissions).unwrap();
        };
        assert!(run(&["migrate", "--database-url", &database.url]).status.success());
        read_only(&database.file(), true);
        let sentence = failure(&mut without_privileges(quiet(&database.url)), 1);
        assert!(sentence.contains("test.db cannot be opened for writing"), "{sentence}");

        read_only(&database.file(), false);
        let folder = database.file().parent().unwrap().to_owned();
        read_only(&folder, true);
        let sentence = failure(&mut without_privileges(quiet(&database.url)), 1);
        read_only(&folder, false);
        assert!(sentence.contains("the folder must be writable"), "{sentence}");
    });
}

/// As root no file is read-only; without root's privileges it is.
fn without_privileges(command: Command) -> Command {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !is_root {
        return command;
    }
    let mut without = Command::new("setpriv");
    without.args(["--bounding-set=-all", "--inh-caps=-all", "--"]);
    without.arg(command.get_program()).args(command.get_args());
    without
}

#[test]
fn a_port_that_is_in_use_is_named() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sentence =
        failure(sekali(&["--listen", &address, "--log-level", "off"]).current_dir(folder.path()), 1);
    assert!(
        sentence.starts_with(&format!("cannot listen on {address}: Address already in use")),
        "{sentence}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "no database is made for nothing");
}
