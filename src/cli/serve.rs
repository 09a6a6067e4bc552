//! `sekali serve`: check the settings, start the log, hand over to the application.

use super::{CliError, logging};
use crate::{app, config::ServeArgs};

/// Runs the service until it is told to stop.
pub fn run(args: &ServeArgs) -> Result<(), CliError> {
    let config = args.check()?;
    logging::start(&args.log.check()?)?;
    Ok(app::serve(config, app::Hooks::default())?)
}
