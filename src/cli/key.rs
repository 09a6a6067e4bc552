//! `sekali key`: makes, lists and revokes the keys that a service asks for. It changes the file alone; the service reads
//! it again on SIGHUP.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Subcommand};

use super::CliError;
use crate::{
    access::{Key, KeyFile, NewKey, Pattern, Scope},
    config::WrongValue,
    event::{Timestamp, check_name},
    store::check_namespace,
};

/// No time is written with more characters; the library panics at the end of its range.
const TIME_BYTES_MAX: usize = 16;

#[derive(Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a key, print it, and add what is known of it to the file; the key itself is kept nowhere
    New(NewArgs),
    /// List the keys of the file
    List(ListArgs),
    /// Remove a key from the file
    Revoke(RevokeArgs),
}

#[derive(Args)]
struct FileArgs {
    /// The file of keys, one JSON object a line
    #[arg(long, env = "SEKALI_API_KEYS", hide_env_values = true, value_name = "FILE")]
    api_keys: Option<PathBuf>,
}

#[derive(Args)]
struct NewArgs {
    /// What people know it by: 1 to 64 of a-z, A-Z, 0-9, -, _ and .
    #[arg(value_name = "NAME")]
    name: String,

    /// What it allows: publish, read, admin; several with commas. None includes another
    #[arg(long, value_name = "SCOPE,…", value_delimiter = ',', required = true)]
    #[arg(value_parser = |text: &str| text.parse::<Scope>())]
    scope: Vec<Scope>,

    /// Only in these namespaces, several with commas; a final * stands for anything [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = namespace_pattern)]
    namespace: Vec<Pattern>,

    /// Only for this topic, can be given several times; a final * stands for anything [default: all]
    #[arg(long, value_name = "TOPIC", value_parser = topic_pattern)]
    topic: Vec<Pattern>,

    /// When it ends: in 90d, 12h, …, or at 2030-01-01T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<Timestamp>,

    #[command(flatten)]
    file: FileArgs,
}

#[derive(Args)]
struct ListArgs {
    /// Print the lines of the file, JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    file: FileArgs,
}

#[derive(Args)]
struct RevokeArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,

    #[command(flatten)]
    file: FileArgs,
}

/// Does what is asked for, and prints what there is to be said.
pub fn run(args: &KeyArgs) -> Result<(), CliError> {
    let printed = match &args.action {
        Action::New(args) => new(args)?,
        Action::List(args) => list(args)?,
        Action::Revoke(args) => revoke(args)?,
    };
    io::stdout().write_all(printed.as_bytes()).map_err(CliError::Output)
}

fn new(args: &NewArgs) -> Result<String, CliError> {
    let some = |patterns: &[Pattern]| (!patterns.is_empty()).then(|| patterns.to_vec());
    let NewKey { key, secret } =
        Key::make(&args.name, args.scope.clone(), some(&args.namespace), some(&args.topic), args.expires)?;
    let mut file = KeyFile::read_or_new(&args.file.path()?)?;
    file.add(key)?;
    file.write()?;
    Ok(format!("{secret}\n"))
}

fn list(args: &ListArgs) -> Result<String, CliError> {
    let file = KeyFile::read(&args.file.path()?)?;
    if args.json {
        let json = |key| serde_json::to_string(key).expect("strings serialise") + "\n";
        return Ok(file.keys().map(json).collect());
    }
    Ok(table(file.keys()))
}

fn revoke(args: &RevokeArgs) -> Result<String, CliError> {
    let mut file = KeyFile::read_or_new(&args.file.path()?)?;
    file.remove(&args.name)?;
    file.write()?;
    Ok(format!("{} is revoked once the service has read the file again (SIGHUP)\n", args.name))
}

impl FileArgs {
    fn path(&self) -> Result<PathBuf, WrongValue> {
        let path = self.api_keys.clone().filter(|path| !path.as_os_str().is_empty());
        path.ok_or_else(|| WrongValue::new("api-keys", "the file of keys", ""))
    }
}

fn namespace_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text, check_namespace)
}

fn topic_pattern(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text, check_name)
}

/// A moment, or a time from now.
fn expiry(text: &str) -> Result<Timestamp, String> {
    let wrong = || "must be a time such as 90d, or a moment such as 2030-01-01T00:00:00Z".to_owned();
    if let Ok(moment) = Timestamp::parse(text) {
        return Ok(moment);
    }
    let time = Some(text).filter(|text| text.len() <= TIME_BYTES_MAX);
    let time: Duration = time.and_then(|text| humantime::parse_duration(text).ok()).ok_or_else(wrong)?;
    let micros = i64::try_from(time.as_micros())
        .ok()
        .and_then(|time| Timestamp::now().unix_micros().checked_add(time));
    micros.and_then(|micros| Timestamp::from_unix_micros(micros).ok()).ok_or_else(wrong)
}

/// The name is last, so that long ones keep the columns aligned.
fn table<'a>(keys: impl Iterator<Item = &'a Key>) -> String {
    let mut table =
        format!("{:<20}  {:<20}  {:<20}  {:<27}  name\n", "scopes", "namespaces", "topics", "expires");
    let all = |patterns: &Option<Vec<Pattern>>| match patterns {
        None => "all".to_owned(),
        Some(patterns) => patterns.iter().map(Pattern::as_str).collect::<Vec<_>>().join(","),
    };
    for key in keys {
        let scopes = key.scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(",");
        let expires = match key.expires {
            None => "never".to_owned(),
            Some(_) if key.has_expired() => "is over".to_owned(),
            Some(expires) => expires.to_string(),
        };
        let (namespaces, topics) = (all(&key.namespaces), all(&key.topics));
        writeln!(table, "{scopes:<20}  {namespaces:<20}  {topics:<20}  {expires:<27}  {}", key.name)
            .expect("writing to a String never fails");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_at_a_moment_or_after_a_time() {
        assert_eq!(expiry("2030-01-01T00:00:00Z").unwrap().to_string(), "2030-01-01T00:00:00Z");
        let soon = expiry("90d").unwrap().unix_micros() - Timestamp::now().unix_micros();
        assert!((soon - 90 * 86_400_000_000).abs() < 60_000_000, "{soon}");
        for text in ["", "soon", "-1d", "9999999y", "5124095576030431h"] {
            assert!(expiry(text).is_err(), "{text}");
        }
    }
}
