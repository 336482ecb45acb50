//! Other firewalls of the machine. Docker and ufw let nothing pass between links unless a rule of theirs says so, and no
//! rule in a table of ours can overrule that: so ours go into theirs, where there is such a policy. By the program
//! `iptables`, since only that knows which of its two back ends they use.

use std::process::{Command, Output, Stdio};

const PROGRAMS: [&str; 3] = ["/usr/sbin/iptables", "/sbin/iptables", "/usr/bin/iptables"];
const CHAIN: &str = "FORWARD";

/// Out, and the answers back in.
fn rules(bridge: &str) -> [Vec<&str>; 2] {
    let answers = ["-o", bridge, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"];
    [vec!["-i", bridge, "-j", "ACCEPT"], answers.to_vec()]
}

pub(super) fn let_through(bridge: &str) {
    if !drops() {
        return;
    }
    for rule in rules(bridge) {
        if !succeeds(&["-C", CHAIN], &rule) {
            succeeds(&["-I", CHAIN], &rule);
        }
    }
}

pub(super) fn take_back(bridge: &str) {
    if !drops() {
        return;
    }
    for rule in rules(bridge) {
        while succeeds(&["-D", CHAIN], &rule) {}
    }
}

/// Whether what nobody lets through is dropped.
fn drops() -> bool {
    run(&["-S", CHAIN], &[]).is_some_and(|output| output.stdout.starts_with(b"-P FORWARD DROP"))
}

fn succeeds(command: &[&str], rule: &[&str]) -> bool {
    run(command, rule).is_some_and(|output| output.status.success())
}

fn run(command: &[&str], rule: &[&str]) -> Option<Output> {
    let program = PROGRAMS.iter().find(|program| std::path::Path::new(program).exists())?;
    // Waits for others that change the tables.
    Command::new(program).arg("-w").args(command).args(rule).stdin(Stdio::null()).output().ok()
}
