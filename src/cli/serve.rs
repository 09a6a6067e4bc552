//! `sekali serve`: start the log, check the settings, hand over to the application.

use super::{CliError, logging};
use crate::{
    app::{self, Hooks},
    config::ServeArgs,
};

/// Runs the service until it is told to stop.
pub fn run(args: &ServeArgs) -> Result<(), CliError> {
    let log = logging::start(&args.log.check()?)?;
    let hooks = Hooks { log_lines_lost: log.lines_lost(), ..Hooks::default() };
    let config = args.check().map_err(CliError::from);
    let served = config.and_then(|config| Ok(app::serve(config, hooks)?));
    log.end(served)
}
