//! Python functions, through AWS's own runtime interface client.

use crate::gateway::{Gateway, claim, code};
use crate::python_library::python;
use warmpod_link::frame::Kind;

const HELLO: &str = "
import logging
def handler(event, context):
    print('printed', event['name'])
    logging.getLogger().warning('logged\\ntwice')
    return {'hello': event['name']}
";

#[test]
fn a_function_is_claimed_and_invoked_fresh_and_warm() {
    for warm in [false, true] {
        let Some(runtime) = python(warm) else { return };
        let code = code(&[("app.py", HELLO)]);
        let mut gateway = Gateway::start(runtime);
        let report = gateway.claim_well(claim(code.path(), "app.handler"));
        println!("warm {warm}: init took {} us", report.duration_us);
        let answer = gateway.invoke(br#"{"name": "a"}"#);
        assert_eq!((answer.kind, answer.text()), (Kind::Response, r#"{"hello": "a"}"#));
        let answer = gateway.invoke_with_tail(br#"{"name": "b"}"#);
        assert_eq!((answer.kind, answer.text()), (Kind::Response, r#"{"hello": "b"}"#));
        assert!(answer.tail.contains("printed b\n") && answer.tail.contains("logged\ntwice\n"), "{}", answer.tail);
        gateway.log_with("Max Memory Used");
        println!("{}", gateway.log_text());
    }
}
