//! The function that is measured: it answers its event. An event with `hold_ms` is answered after that long, so that
//! many environments are needed at once.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;
use std::time::Duration;

async fn echo(event: LambdaEvent<Value>) -> Result<Value, Error> {
    if let Some(hold) = event.payload.get("hold_ms").and_then(Value::as_u64) {
        tokio::time::sleep(Duration::from_millis(hold)).await;
    }
    Ok(event.payload)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(echo)).await
}
