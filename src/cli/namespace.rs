//! `sekali namespace`: creates, lists, shows and deletes the namespaces of a running service.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

use clap::{Args, Subcommand};

use super::{CliError, ServerArgs, block_on};
use crate::{client::Namespace, config::WrongValue, event::DedupScope, store::check_namespace};

#[derive(Args)]
pub struct NamespaceArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Create a namespace; one that is there with these settings stays as it is
    Create(CreateArgs),
    /// List the namespaces by name
    List(ListArgs),
    /// Show one namespace
    Show(ShowArgs),
    /// Delete a namespace with all of its events, for ever
    Delete(DeleteArgs),
}

#[derive(Args)]
struct CreateArgs {
    /// Its name: 1 to 63 of a-z, 0-9 and -, first a letter or a digit
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,

    /// What identifies an event: event-id (the id alone) or topic (topic and id) [default: event-id]
    #[arg(long, value_name = "SCOPE", value_parser = |text: &str| text.parse::<DedupScope>())]
    dedup_scope: Option<DedupScope>,

    /// Print the service's answer, JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args)]
struct ListArgs {
    /// Only those whose names begin like this
    #[arg(long, value_name = "PREFIX", value_parser = name)]
    prefix: Option<String>,

    /// Print one JSON object a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args)]
struct ShowArgs {
    /// Its name
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,

    /// Print the service's answer, JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args)]
struct DeleteArgs {
    /// Its name
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,

    /// The name again, since nothing brings back what is deleted
    #[arg(long, value_name = "NAME")]
    confirm: String,

    #[command(flatten)]
    server: ServerArgs,
}

/// Does what is asked for, and prints what there is then.
pub fn run(args: &NamespaceArgs) -> Result<(), CliError> {
    let printed = match &args.action {
        Action::Create(args) => create(args)?,
        Action::List(args) => list(args)?,
        Action::Show(args) => show(args)?,
        Action::Delete(args) => delete(args)?,
    };
    io::stdout().write_all(printed.as_bytes()).map_err(CliError::Output)
}

fn create(args: &CreateArgs) -> Result<String, CliError> {
    let client = args.server.client()?;
    let scope = args.dedup_scope.map(DedupScope::name);
    let (namespace, is_new) = block_on(async { Ok(client.create_namespace(&args.name, scope).await?) })?;
    if args.json {
        return Ok(json_line(&namespace));
    }
    let Namespace { name, dedup_scope, .. } = &namespace;
    let what = if is_new { "created" } else { "is there already" };
    Ok(format!("{name} {what}, with dedup scope {dedup_scope}\n"))
}

fn list(args: &ListArgs) -> Result<String, CliError> {
    let client = args.server.client()?;
    let prefix = args.prefix.as_deref().unwrap_or_default();
    let namespaces = block_on(async { Ok(client.namespaces(prefix).await?) })?;
    Ok(match args.json {
        true => namespaces.iter().map(json_line).collect(),
        false => table(&namespaces),
    })
}

fn show(args: &ShowArgs) -> Result<String, CliError> {
    let client = args.server.client()?;
    let namespace = block_on(async { Ok(client.namespace(&args.name).await?) })?;
    if args.json {
        return Ok(json_line(&namespace));
    }
    let Namespace { name, dedup_scope, created_at, received, unique, duplicates, last_seq } = &namespace;
    Ok(format!(
        "name         {name}\ndedup scope  {dedup_scope}\ncreated      {created_at}\nreceived     {received}\n\
         unique       {unique}\nduplicates   {duplicates}\nlast seq     {last_seq}\n"
    ))
}

fn delete(args: &DeleteArgs) -> Result<String, CliError> {
    if args.confirm != args.name {
        let allowed = format!("the name of the namespace to delete, {}", args.name);
        return Err(WrongValue::new("confirm", allowed, &args.confirm).into());
    }
    let client = args.server.client()?;
    block_on(async { Ok(client.delete_namespace(&args.name).await?) })?;
    Ok(format!("{} deleted\n", args.name))
}

/// The name of a namespace, or the beginning of one.
fn name(text: &str) -> Result<String, String> {
    check_namespace(text).map(|()| text.to_owned())
}

fn json_line(namespace: &Namespace) -> String {
    serde_json::to_string(namespace).expect("strings and numbers serialise") + "\n"
}

/// The name is last, so that long names keep the columns aligned.
fn table(namespaces: &[Namespace]) -> String {
    let mut table =
        format!("{:>12}  {:>12}  {:<11}  {:<27}  name\n", "unique", "duplicates", "dedup scope", "created");
    for namespace in namespaces {
        let Namespace { name, dedup_scope, created_at, unique, duplicates, .. } = namespace;
        writeln!(table, "{unique:>12}  {duplicates:>12}  {dedup_scope:<11}  {created_at:<27}  {name}")
            .expect("writing to a String never fails");
    }
    table
}
