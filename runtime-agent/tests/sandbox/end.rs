//! Nothing outlives the agent, however it ends.

use crate::trial::{Sandbox, User};
use std::io::{BufRead, BufReader};

/// Two sessions away from the program that made it.
const DAEMON: &str = r#"
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("up", flush=True)
        import signal
        signal.pause()
    os._exit(0)
os.wait()
"#;

#[test]
fn a_daemon_ends_with_its_sandbox() {
    for &user in User::all() {
        for namespaces in [true, false] {
            let mut sandbox = Sandbox::of(user);
            sandbox.spec.layers.processes = namespaces;
            // The pipe is at its end once nobody holds it any more: `python` returns only when the daemon is gone.
            assert_eq!(sandbox.python(DAEMON), "up", "{user:?}");
        }
    }
}

#[test]
fn processes_end_when_the_agent_is_killed() {
    for &user in User::all() {
        let sandbox = Sandbox::of(user);
        let mut agent = sandbox.start(&format!("{DAEMON}\nimport signal; signal.pause()"));
        let mut output = BufReader::new(agent.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("the daemon says that it is up");
        assert_eq!(line, "up\n", "{user:?}");
        agent.kill().expect("the agent is ours");
        agent.wait().expect("the agent is ours");
        // At its end once the program and its daemon are gone.
        assert_eq!(output.read_line(&mut line).expect("the pipe can be read"), 0, "{user:?}");
    }
}
