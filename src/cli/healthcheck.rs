//! `sekali healthcheck`: the health check of container platforms, without a shell or curl in the image.

use clap::Args;

use super::{CliError, ServerArgs, block_on};

#[derive(Args)]
pub struct HealthcheckArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Asks /readyz; prints nothing when the service is ready.
pub fn run(args: &HealthcheckArgs) -> Result<(), CliError> {
    let client = args.server.client()?;
    block_on(async { Ok(client.ready().await?) })
}
