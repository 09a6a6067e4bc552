//! The command line: the subcommands, one file or folder each.

mod completions;
mod demo;
mod events;
mod healthcheck;
mod key;
mod log_writer;
mod logging;
mod migrate;
mod namespace;
mod progress;
mod publish;
mod serve;
mod server_args;
mod simulate;
mod stats;
mod subscription;
mod tail;
mod work;

use std::{
    future::Future,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};

use self::server_args::{LedgerArgs, ServerArgs};
use crate::{
    access::{KeyFileError, WrongKey},
    app::AppError,
    client::{Client, ClientError, in_words},
    config::{ServeArgs, WrongValue},
};

/// An idempotent event aggregator: publish as often as you like, stored once
///
/// Without a command it serves, with the options below.
#[derive(Parser)]
#[command(name = "sekali", version = env!("SEKALI_VERSION"), args_conflicts_with_subcommands = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage.")]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service (what `sekali` alone does)
    // Boxed, since it is many times the size of the others.
    Serve(Box<ServeArgs>),
    /// Publish events, a share of them repeats, and prove that each is stored exactly once
    // Boxed as well.
    Simulate(Box<simulate::SimulateArgs>),
    /// Publish events from a file or standard input, one per line, until the service has acknowledged them
    Publish(publish::PublishArgs),
    /// Print stored events: a page as a JSON array, or all of them, one per line
    Events(events::EventsArgs),
    /// Print the counts of a running service
    Stats(stats::StatsArgs),
    /// Create, list, show and delete the namespaces of a running service
    Namespace(namespace::NamespaceArgs),
    /// Make, list and revoke the keys that a service asks for
    Key(key::KeyArgs),
    /// Print events as they are stored
    Tail(tail::TailArgs),
    /// Create, list, show, send back and delete the subscriptions of a namespace
    Subscription(subscription::SubscriptionArgs),
    /// Lease the events of a subscription, and run a command on them
    Work(work::WorkArgs),
    /// Show how the service recovers from crashes
    Demo(demo::DemoArgs),
    /// Migrate the database's schema, and do nothing else
    Migrate(migrate::MigrateArgs),
    /// Print a script that completes this command line in a shell
    Completions(completions::CompletionsArgs),
    /// Ask a running service whether it is ready; prints nothing if it is
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs the subcommand.
pub fn run(cli: Cli) -> Result<(), CliError> {
    let done = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Simulate(args)) => simulate::run(&args),
        Some(Command::Publish(args)) => publish::run(&args),
        Some(Command::Events(args)) => events::run(&args),
        Some(Command::Stats(args)) => stats::run(&args),
        Some(Command::Namespace(args)) => namespace::run(&args),
        Some(Command::Key(args)) => key::run(&args),
        Some(Command::Tail(args)) => tail::run(&args),
        Some(Command::Subscription(args)) => subscription::run(&args),
        Some(Command::Work(args)) => work::run(&args),
        Some(Command::Demo(args)) => demo::run(&args),
        Some(Command::Migrate(args)) => migrate::run(&args),
        Some(Command::Completions(args)) => completions::run(&args),
        Some(Command::Healthcheck(args)) => healthcheck::run(&args),
    };
    match done {
        // The reader closed the pipe, as in `sekali events --all | head`.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A flag or its environment variable has a value that is not allowed.
    #[error(transparent)]
    Usage(#[from] WrongValue),
    /// The service could not start, or did not stop in time.
    #[error(transparent)]
    App(#[from] AppError),
    /// A running service gave no answer, or not the expected one.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The file of keys cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// There can be no such key.
    #[error(transparent)]
    Key(#[from] WrongKey),
    /// Not everything was published.
    #[error(transparent)]
    Publish(#[from] publish::PublishFailure),
    /// The command of a worker cannot be run.
    #[error(transparent)]
    Work(#[from] work::WorkFailure),
    /// The demonstration could not be run to its end.
    #[error(transparent)]
    Demo(#[from] demo::DemoFailure),
    /// The simulation found a wrong result.
    #[error("the result is wrong: {0}")]
    NotProven(String),
    /// Standard output is closed or full.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// The system refused a thread or a poll.
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    /// Any of these, when the log has already said it.
    #[error(transparent)]
    Told(Box<CliError>),
}

impl CliError {
    /// The error and its causes in one sentence.
    pub fn in_words(&self) -> String {
        in_words(self)
    }

    /// The exit code of the process: 2 for wrong usage, 1 for any other failure.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            CliError::Usage(_)
            | CliError::Key(_)
            | CliError::Client(ClientError::Url { .. } | ClientError::Key(_)) => ExitCode::from(2),
            CliError::Told(failure) => failure.exit_code(),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs `work` on this thread; only the service needs more than one.
fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(CliError::Runtime)?.block_on(work)
}

/// Waits for the service. If it is not ready at once, the reason is printed on standard error.
async fn wait_until_ready(client: &Client, limit: Duration) -> Result<(), ClientError> {
    let on_wait = |obstacle: &str| {
        // The wait goes on if standard error is closed.
        let _ = writeln!(io::stderr(), "waiting at most {limit:?} for the service to be ready: {obstacle}");
    };
    client.wait_until_ready(limit, on_wait).await
}

/// Prints the report of a run; an error if it has faults.
fn print_report(report: &str, faults: &[String]) -> Result<(), CliError> {
    writeln!(io::stdout(), "{}", report.trim_end()).map_err(CliError::Output)?;
    match faults.is_empty() {
        true => Ok(()),
        false => Err(CliError::NotProven(faults.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, builder::Resettable, error::ErrorKind};

    use super::*;

    /// As the user would, but in an empty environment.
    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        fn without_env(command: clap::Command) -> clap::Command {
            command.mut_args(|arg| arg.env(Resettable::Reset)).mut_subcommands(without_env)
        }
        let matches = without_env(Cli::command()).try_get_matches_from([&["sekali"], args].concat())?;
        Cli::from_arg_matches(&matches)
    }

    fn refusal(args: &[&str]) -> ErrorKind {
        parse(args).err().expect("it must be refused").kind()
    }

    /// What `serve` would run with.
    fn config(args: &[&str]) -> Result<crate::config::Config, WrongValue> {
        let cli = parse(args).unwrap_or_else(|error| panic!("{error}"));
        match cli.command {
            None => cli.serve.check(),
            Some(Command::Serve(args)) => args.check(),
            Some(_) => panic!("that does not serve: {args:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_serve_work_with_and_without_its_name() {
        for args in
            [&["--listen", "[::1]:0", "--shards=3"][..], &["serve", "--listen", "[::1]:0", "--shards=3"]]
        {
            let config = config(args).unwrap();
            assert_eq!((config.listen.as_str(), config.shards), ("[::1]:0", 3));
        }
        assert_eq!(refusal(&["--shards=3", "serve"]), ErrorKind::ArgumentConflict);
        assert_eq!(refusal(&["--shards=3", "stats"]), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn migrate_is_a_flag_with_or_without_a_value() {
        for (args, migrate) in [
            (&["--migrate"][..], true),
            (&["--migrate", "false"], false),
            (&["--migrate=false"], false),
            (&["--migrate=true", "--shards=1"], true),
        ] {
            assert_eq!(config(args).unwrap().migrate, migrate, "{args:?}");
        }
    }

    #[test]
    fn a_wrong_value_is_wrong_usage_whichever_flag_has_it() {
        for args in [
            ["--listen", "8080"],
            ["--database-url", "mysql://db"],
            ["--dedup-scope", "source"],
            ["--migrate", "yes"],
            ["--shards", "257"],
            ["--window-ids", "16777217"],
            ["--batch-events-max", "0"],
            ["--body-bytes-max", "1023"],
            ["--events-in-flight-max", "9999"],
            ["--bytes-in-flight-max", "15MiB"],
            ["--group-events-max", "0"],
            ["--group-bytes-max", "1GiB"],
            ["--read-connections", "65"],
            ["--connections-max", "0"],
            ["--peer-share-exempt", "10.0.0.1,proxy"],
            ["--cors-origin", "https://app.example/path"],
            ["--log-requests", "some"],
            ["--http-workers", "0"],
            ["--publish-timeout", "0"],
            ["--body-timeout", "61m"],
            ["--drain-timeout", "soon"],
            ["--client-idle-timeout", "0ms"],
        ] {
            let wrong = config(&args).unwrap_err();
            assert!(wrong.to_string().starts_with(&format!("{} must be ", args[0])), "{wrong}");
            assert_eq!(CliError::from(wrong).exit_code(), ExitCode::from(2));
        }
    }

    #[test]
    fn a_wrong_setting_of_serve_is_not_looked_at_by_others() {
        // A default stands for the environment variable here: the text is kept, and only `check` reads it.
        let with_wrong_env =
            Cli::command().mut_arg("shards", |arg| arg.env(Resettable::Reset).default_value("x"));
        assert!(with_wrong_env.try_get_matches_from(["sekali", "stats"]).is_ok());
    }

    #[test]
    fn commands_have_their_own_flags() {
        for args in [
            &["events", "--all", "--after", "7", "--before", "9", "--limit", "5000", "--topic", "a"][..],
            &["stats", "--json", "--url", "http://host", "--namespace", "a"],
            &["migrate", "--database-url", "sqlite::memory:", "--dedup-scope", "topic"],
            &["healthcheck"],
            &["simulate", "--events=5", "--duplicates", "0.5", "--ids", "uuid7", "--run", "a", "--seed", "1"],
            &["simulate", "--namespaces", "3"],
            &["publish", "-", "--batch", "1", "--give-up-after", "10s"],
            &["demo", "supervisor-restart", "--pause", "1s", "--json", "--database-url", "sqlite://a.db"],
        ] {
            assert!(parse(args).is_ok(), "{args:?}");
        }
        assert_eq!(refusal(&["simulator"]), ErrorKind::InvalidSubcommand);
        for args in [
            ["events", "--limit", "0"],
            ["simulate", "--events", "0"],
            ["simulate", "--namespaces", "1001"],
            ["simulate", "--duplicates", "1.1"],
            ["simulate", "--rate", "-1"],
            ["simulate", "--run", "a b"],
            ["simulate", "--payload-bytes", "25"],
            ["publish", "--batch", "0"],
            ["publish", "--give-up-after", "0s"],
        ] {
            let found = refusal(&args);
            assert!(
                [ErrorKind::ValueValidation, ErrorKind::UnknownArgument].contains(&found),
                "{args:?}: {found}"
            );
        }
    }

    #[test]
    fn commands_about_namespaces_need_a_name_that_there_can_be() {
        for args in [
            &["namespace", "create", "a", "--dedup-scope", "topic", "--json", "--url", "http://host"][..],
            &["namespace", "list", "--prefix", "a-", "--json"],
            &["namespace", "show", "a", "--json"],
            &["namespace", "delete", "a", "--confirm", "a"],
        ] {
            assert!(parse(args).is_ok(), "{args:?}");
        }
        for name in ["A", "", "..", "a/b", "-a"] {
            assert!(parse(&["namespace", "show", "--", name]).is_err(), "{name}");
        }
        assert_eq!(refusal(&["namespace", "delete", "a"]), ErrorKind::MissingRequiredArgument);
    }
}
