//! `sekali migrate`: bring the database's schema up to date, and do nothing else.

use std::io::{self, Write};

use clap::Args;

use super::{CliError, logging};
use crate::{
    app,
    config::{DatabaseArgs, LogArgs},
};

#[derive(Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    log: LogArgs,
}

/// Migrates, and names the database that is now up to date.
pub fn run(args: &MigrateArgs) -> Result<(), CliError> {
    let log = logging::start(&args.log.check()?)?;
    let database = args.database.check().map_err(CliError::from);
    let migrated = database.and_then(|database| {
        app::migrate(&database.url, database.dedup_scope)?;
        Ok(database)
    });
    let database = log.end(migrated)?;
    writeln!(io::stdout(), "{} is up to date", database.url).map_err(CliError::Output)
}
