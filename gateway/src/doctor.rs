//! `warmpod doctor`: what this machine offers, what that means, and what to install.
//!
//! It tries everything that the local engine tries at its start, in a place of its own, and leaves nothing. With
//! `--log-style json` the report is JSON.

use crate::config::{Config, LogStyle, ServeArgs, Variables};
use crate::engine::local::{Finding, LocalConfig, LocalError, findings};
use crate::serve::local_config;
use serde::Serialize;
use std::error::Error;
use std::fmt;
use std::io::Write;
use std::path::Path;

/// Programs that run containers from images, the one that works best first.
const OCI_RUNTIMES: [&str; 3] = ["crun", "runc", "youki"];

/// What is on and what is not, in a fixed order.
#[derive(Debug, Serialize)]
pub struct Report {
    findings: Vec<Finding>,
}

pub fn run(args: ServeArgs, variables: &dyn Variables) -> Result<(), Box<dyn Error>> {
    let style = args.log_style;
    let config = Config::resolve(args, variables)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(examine(local_config(&config, config.listen)))?;
    let text = match style {
        LogStyle::Text => report.to_string(),
        LogStyle::Json => serde_json::to_string_pretty(&report)? + "\n",
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// Beside any gateway that runs: with folders of its own.
pub async fn examine(mut config: LocalConfig) -> Result<Report, LocalError> {
    let path = std::env::temp_dir();
    let folder = tempfile::TempDir::with_prefix_in("warmpod-doctor-", &path);
    let folder = folder.map_err(|source| LocalError::RunDir { path, source })?;
    config.run_dir = folder.path().join("run");
    config.data_dir = folder.path().to_owned();
    config.lock = folder.path().join("lock");
    let mut findings = findings(&config).await?;
    findings.push(oci_runtime(config.path.as_deref()));
    Ok(Report { findings })
}

fn oci_runtime(path: Option<&str>) -> Finding {
    let folders = || path.unwrap_or_default().split(':').filter(|folder| !folder.is_empty());
    let found = OCI_RUNTIMES
        .iter()
        .find_map(|name| folders().map(|folder| Path::new(folder).join(name)).find(|program| program.is_file()));
    Finding {
        layer: "OCI runtime",
        on: found.is_some(),
        detail: found.as_ref().map_or("none of crun, runc, youki is on PATH".into(), |path| path.display().to_string()),
        advice: found.is_none().then_some("only images need one, which this version does not run yet"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = if finding.on { "ok" } else { "--" };
            match finding.detail.as_str() {
                same if same == finding.layer => writeln!(f, "{mark}  {same}")?,
                detail => writeln!(f, "{mark}  {}: {detail}", finding.layer)?,
            }
            if let Some(advice) = finding.advice {
                writeln!(f, "      {advice}")?;
            }
        }
        let missing = self.findings.iter().filter(|finding| !finding.on).count();
        match missing {
            0 => writeln!(f, "\nEverything is here."),
            1 => writeln!(f, "\nOne thing is missing; functions run without it."),
            more => writeln!(f, "\n{more} things are missing; functions run without them."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::local::tests::Installation;

    /// One line a finding: `on name` or `off name`.
    const CI: &str = include_str!("../../tests/ci-machine.txt");

    #[tokio::test(flavor = "multi_thread")]
    async fn the_machine_of_ci_offers_what_is_checked_in() {
        let report = examine(Installation::new().config()).await.expect("the agent runs");
        let found = report.findings.iter().map(|finding| (finding.layer, finding.on));
        let listed = CI.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
        let listed: Vec<(&str, bool)> = listed.map(|(state, name)| (name, state == "on")).collect();
        let names = |list: &[(&str, bool)]| list.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>();
        let found: Vec<(&str, bool)> = found.collect();
        assert_eq!(names(&found), names(&listed), "every machine's report has the same lines");
        // Another machine may lack what that one has.
        if std::env::var("WARMPOD_TEST_MACHINE").is_ok_and(|machine| machine == "ci") {
            assert_eq!(found, listed, "{report}");
        }
    }

    #[test]
    fn what_is_missing_comes_with_advice() {
        let report = Report { findings: vec![oci_runtime(Some("/nowhere"))] };
        let text = report.to_string();
        assert!(text.starts_with("--  OCI runtime: none of crun"), "{text}");
        assert!(text.contains("only images need one") && text.contains("One thing is missing"), "{text}");
    }
}
