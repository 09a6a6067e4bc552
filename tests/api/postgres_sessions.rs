//! How the service reaches Postgres: URLs, poolers, settings of a session, and rights.

use std::path::Path;

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::harness::{
    Database, Engine, block_on, event,
    pooler::{StartUp, forward, forward_socket},
    postgres_server::PostgresServer,
    process::{Process, failure, finished, run, sekali},
};

fn serve(url: &str, arguments: &[&str]) -> Process {
    Process::start(Path::new("/"), &[&["--database-url", url], arguments].concat())
}

/// The sentence with which `sekali serve` refuses this URL.
fn refusal(url: &str, arguments: &[&str]) -> String {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--log-level", "off", "--database-url", url];
    failure(sekali(&serve).args(arguments), 1)
}

/// Where the server is that `url` names, and the names of the user and the database.
fn parts(url: &str) -> (u16, String, String) {
    let options: PgConnectOptions = url.parse().unwrap();
    (options.get_port(), options.get_username().to_owned(), options.get_database().unwrap().to_owned())
}

#[test]
fn a_pooler_that_drops_or_refuses_the_settings_of_a_session_is_refused() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let (port, user, name) = parts(&database.url);
        for (start_up, told) in [
            (StartUp::Dropped, "the session setting lock_timeout"),
            (StartUp::Refused, "unsupported startup parameter: options"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let pooler = listener.local_addr().unwrap().port();
            forward(listener, port, start_up);
            let url = format!("postgres://{user}@127.0.0.1:{pooler}/{name}?sslmode=disable");
            let sentence = tokio::task::spawn_blocking(move || refusal(&url, &[])).await.unwrap();
            assert!(sentence.contains(told), "{sentence}");
            assert!(sentence.contains("PgBouncer"), "{sentence}");
            assert!(sentence.contains("give the address of the PostgreSQL server itself"), "{sentence}");
        }
    });
}

#[test]
fn settings_of_the_database_do_not_weaken_a_session() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let (_, _, name) = parts(&database.url);
        for setting in [
            "synchronous_commit = off",
            "default_transaction_isolation = serializable",
            "statement_timeout = '1ms'",
            "lock_timeout = '1ms'",
            "client_connection_check_interval = 0",
        ] {
            database.execute(&format!("ALTER DATABASE {name} SET {setting}")).await;
        }
        let process = serve(&database.url, &[]).ready().await;
        process.client.publish_ok(event("t", "a")).await;
        assert_eq!(process.client.all_events().await.len(), 1);
    });
}

#[test]
fn urls_without_a_host_and_with_an_ipv6_address_reach_the_server() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let (port, user, name) = parts(&database.url);
        let folder = TempDir::new().unwrap();
        forward_socket(folder.path(), port);
        let socket = folder.path().display().to_string();
        let mut urls = vec![
            format!("postgres://{user}@/{name}?host={socket}&port=5432"),
            format!("postgres://{user}@{}/{name}?sslmode=disable", socket.replace('/', "%2F")),
            format!("postgresql:///{name}?host={socket}&port=5432&user={user}"),
        ];
        if let Ok(listener) = TcpListener::bind("[::1]:0").await {
            urls.push(format!("postgres://{user}@[::1]:{}/{name}", listener.local_addr().unwrap().port()));
            forward(listener, port, StartUp::Kept);
        }
        for (number, url) in urls.iter().enumerate() {
            let process = serve(url, &[]).ready().await;
            process.client.publish_ok(event("t", &number.to_string())).await;
        }
        database.assert_sound().await;
    });
}

#[test]
fn tls_that_the_server_does_not_have_is_refused_in_a_sentence() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let (port, user, name) = parts(&database.url);
        let url = format!("postgres://{user}@127.0.0.1:{port}/{name}?sslmode=require");
        let sentence = refusal(&url, &[]);
        assert!(sentence.contains("the URL's `sslmode` asks"), "{sentence}");
        assert!(sentence.contains("server does not support TLS"), "{sentence}");
    });
}

#[test]
fn no_output_shows_the_password_of_a_url_in_whatever_form() {
    let folder = TempDir::new().unwrap();
    for url in [
        "host=db user=app password=s3cr3t dbname=events",
        "Host=db;Username=app;Password=s3cr3t",
        "app:s3cr3t@tcp(127.0.0.1:1)/events",
        "postgres//app:s3cr3t@db/events",
        "postgres://u:s3cr3t",
        "postgres://u:1/s3cr3t@127.0.0.1:1/db",
        "postgres://127.0.0.1:1/db?pass=s3cr3t",
        "postgres://127.0.0.1:1/db?user=u&pass%77ord=s3cr3t",
        "postgres://127.0.0.1:1/db?user=u;password=s3cr3t",
        "postgres://127.0.0.1:1/db;password=s3cr3t",
        "postgres://127.0.0.1:1/db?sslmode=s3cr3t",
        "postgres://127.0.0.1:1/db?passfile=s3cr3t&sslpassword=s3cr3t&s3cr3t",
        "postgres://127.0.0.1:1/db?options=password=s3cr3t",
        "postgres://u:s3cr3t@127.0.0.1:1/db?sslrootcert=/nowhere",
        "postgres://u:s3cr3t@127.0.0.1:1/db",
        "sqlite://u:s3cr3t@x/y.db",
        "sqlite://y.db?password=s3cr3t",
        "sqlite://y.db?mode=s3cr3t",
        "u:s3cr3t@h",
    ] {
        for command in ["migrate", "serve"] {
            let mut process = sekali(&[command, "--log-level", "debug", "--database-url", url]);
            // A service that waits for its database does so until it is told to stop.
            let mut limited = std::process::Command::new("timeout");
            limited.args(["1"]).arg(process.get_program()).args(process.get_args());
            limited.env("SEKALI_LISTEN", "127.0.0.1:0").env_remove("DATABASE_URL");
            let process = if command == "serve" { &mut limited } else { &mut process };
            let output = finished(process.current_dir(folder.path()));
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(!said.contains("s3cr3t"), "{command} with {url}: {said}");
            assert!(!said.trim().is_empty(), "{command} with {url} says nothing");
            assert!(!output.status.success() || command == "serve", "{command} with {url}: {said}");
        }
    }
    let sentence = failure(&mut sekali(&["stats", "--url", "http://u:s3cr3t@127.0.0.1:1?x=s3cr3t"]), 2);
    assert!(!sentence.contains("s3cr3t"), "{sentence}");
}

#[test]
fn no_right_is_asked_for_that_is_not_needed() {
    let mut server = PostgresServer::create();
    server.start();
    block_on(async {
        let admin = Database::at(&server.url);
        admin
            .execute(
                "CREATE ROLE owner LOGIN PASSWORD 'owner'; CREATE ROLE clerk LOGIN PASSWORD 'clerk';
                 REVOKE ALL ON DATABASE postgres FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC;
                 GRANT CONNECT ON DATABASE postgres TO owner, clerk;
                 CREATE SCHEMA sekali AUTHORIZATION owner",
            )
            .await;
        let url_of = |role: &str| {
            server.url.replace(&format!("postgres:{}@", server.password), &format!("{role}:{role}@"))
        };
        let (owner, clerk) = (url_of("owner"), url_of("clerk"));

        let migrated = run(&["migrate", "--database-url", &owner]);
        assert!(migrated.status.success(), "{migrated:?}");
        serve(&owner, &[]).ready().await.client.publish_ok(event("t", "a")).await;

        let arguments = ["--migrate=false"];
        let sentence = refusal(&clerk, &arguments);
        assert!(sentence.contains("the role lacks rights: USAGE on the schema sekali"), "{sentence}");
        admin
            .execute(
                "GRANT USAGE ON SCHEMA sekali TO clerk; GRANT SELECT ON ALL TABLES IN SCHEMA sekali TO clerk;
                 GRANT UPDATE ON sekali.counters, sekali.namespaces, sekali.ledgers, sekali.topics,
                     sekali.subscriptions, sekali.leases TO clerk;
                 GRANT INSERT ON sekali.namespaces, sekali.ledgers, sekali.identities, sekali.topics,
                     sekali.stored_events, sekali.subscriptions, sekali.leases, sekali.parked TO clerk;
                 GRANT DELETE ON sekali.namespaces, sekali.ledgers, sekali.identities, sekali.topics,
                     sekali.stored_events, sekali.commits, sekali.subscriptions, sekali.leases,
                     sekali.parked TO clerk",
            )
            .await;
        let sentence = refusal(&clerk, &arguments);
        assert!(sentence.contains("the role lacks rights: INSERT on sekali.commits; grant"), "{sentence}");
        admin.execute("GRANT INSERT ON sekali.commits TO clerk").await;
        for arguments in [&arguments[..], &[]] {
            let process = serve(&clerk, arguments).ready().await;
            process.client.publish_ok(event("t", "b")).await;
            assert_eq!(process.client.all_events().await.len(), 2);
            let asked = process.client.request("POST", "/subscriptions/s/seek");
            let asked = asked.header("content-type", "application/json").body(r#"{"after":0}"#);
            let created = process.client.request("PUT", "/subscriptions/s");
            assert!(process.client.send(created).await.unwrap().status < 300);
            assert_eq!(process.client.send(asked).await.unwrap().status, 200);
            let leased = process.client.request("POST", "/subscriptions/s/lease");
            assert_eq!(process.client.send(leased).await.unwrap().status, 200);
        }
        admin.assert_sound().await;
    });
}
