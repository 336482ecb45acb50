//! Answers its event and request id; `{"fail": "text"}` fails with that text.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let (event, context) = event.into_parts();
        match event.get("fail").and_then(Value::as_str) {
            Some(text) => Err(Error::from(text.to_owned())),
            None => Ok(json!({ "event": event, "request_id": context.request_id })),
        }
    }))
    .await
}
