//! The systemd unit is sound, and leaves the service few rights.

use std::process::Command;

use crate::package_root;

/// The most of what `systemd-analyze security` calls exposure, in tenths: 10.0 is a service without limits.
const EXPOSURE_TENTHS_MAX: u32 = 20;

#[test]
fn the_unit_starts_the_service_and_stops_it_in_time() {
    let unit = std::fs::read_to_string(package_root().join("systemd/sekali.service")).expect("the unit");
    for line in
        ["ExecStart=/usr/local/bin/sekali serve", "ExecReload=/bin/kill -HUP $MAINPID", "TimeoutStopSec=20"]
    {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
}

#[test]
fn the_unit_is_exposed_to_little() {
    let analysed = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(package_root().join("systemd/sekali.service"))
        .output();
    // The program comes with systemd, which not every machine has.
    let Ok(analysed) = analysed else { return eprintln!("there is no systemd-analyze here") };
    let said = String::from_utf8_lossy(&analysed.stdout);
    let exposure = said.split("exposure level for sekali.service: ").nth(1).expect("an exposure level");
    let level: f64 =
        exposure.split_whitespace().next().and_then(|level| level.parse().ok()).expect("a number");
    assert!(level * 10.0 <= f64::from(EXPOSURE_TENTHS_MAX), "{said}");
}
