//! The crate behind a pipe, for tests/wire: a JSON request a line on standard input, a JSON answer a line on standard
//! output. It does what the gateway does with a request, and says what it understood.
//!
//! ```text
//!  {"decode": {method, uri, headers, body}}       -> {operation, input} | {operation, answer} (the fault's)
//!  {"encode": {operation, output}}                -> {answer}
//!  {"fault": {code, message, members, typed}}     -> {answer}
//!  {"caller": {authorization, query}}             -> {access_key, account, region, service}
//!  {"sign": {access_key, …, method, uri, millis}} -> {headers}
//! ```
//! Bodies and blobs are base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use warmpod_protocol::model::lambda::*;
use warmpod_protocol::rest_json::{self, Answer, Labels};
use warmpod_protocol::{Caller, Fault, FaultCode, Operation, Timestamp, sigv4::Signer};

/// What a request was understood to be, or its refusal.
type Decoded = Result<Value, Fault>;
type Outcome = Result<Value, Box<dyn Error>>;

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Command {
    Decode { method: String, uri: String, headers: Vec<(String, String)>, body: String },
    Encode { operation: String, output: Value },
    Fault { code: String, message: String, members: HashMap<String, String>, typed: bool },
    Caller { authorization: Option<String>, query: Option<String> },
    Sign(SignCommand),
}

#[derive(Deserialize)]
struct SignCommand {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
    region: String,
    service: String,
    method: String,
    uri: String,
    headers: Vec<(String, String)>,
    body: String,
    millis: i64,
}

/// Calls `$do::<Operation>` for the operation of a name.
macro_rules! dispatch {
    ($name:expr, $do:ident $arguments:tt, [$($operation:ident),* $(,)?]) => {
        match $name {
            $(stringify!($operation) => $do::<$operation> $arguments,)*
            other => Err(format!("{other} has no type").into()),
        }
    };
    ($name:expr, $do:ident $arguments:tt) => {
        dispatch!($name, $do $arguments, [
            CreateFunction, GetFunction, GetFunctionConfiguration, UpdateFunctionCode, UpdateFunctionConfiguration,
            DeleteFunction, ListFunctions, TagResource, UntagResource, ListTags, PutFunctionConcurrency,
            GetFunctionConcurrency, DeleteFunctionConcurrency, GetAccountSettings, Invoke, PublishVersion,
            ListVersionsByFunction, CreateAlias, GetAlias, UpdateAlias, DeleteAlias, ListAliases,
        ])
    };
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let answer = run(serde_json::from_str(&line?)?).unwrap_or_else(|error| json!({"error": error.to_string()}));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Decode { method, uri, headers, body } => {
            let method: Method = method.parse()?;
            let uri: Uri = uri.parse()?;
            let headers = header_map(&headers)?;
            let body = Bytes::from(STANDARD.decode(body)?);
            let Some((route, labels)) = rest_json::find(&method, &uri) else {
                return Ok(json!({"answer": shown(rest_json::encode_fault(&Fault::unknown_operation()))}));
            };
            if !TYPED.contains(&route.operation) {
                let fault = Fault::not_implemented(route);
                return Ok(json!({"operation": route.operation, "answer": shown(rest_json::encode_fault(&fault))}));
            }
            let understood = match route.operation {
                "Invoke" => rest_json::decode::<Invoke>(&labels, uri.query(), &headers, body).map(|input| {
                    let payload = input.payload.as_ref().map(|payload| STANDARD.encode(payload));
                    json!({"input": input, "payload": payload})
                }),
                name => dispatch!(name, decode(&labels, uri.query(), &headers, body))?,
            };
            let mut said = understood.unwrap_or_else(|fault| json!({"answer": shown(rest_json::encode_fault(&fault))}));
            said["operation"] = route.operation.into();
            Ok(said)
        }
        Command::Encode { operation, mut output } => match operation.as_str() {
            "Invoke" => {
                let payload = output["Payload"].take();
                let mut output: InvocationResponse = serde_json::from_value(output)?;
                output.payload = payload.as_str().map(|text| STANDARD.decode(text)).transpose()?.map(Bytes::from);
                Ok(json!({"answer": shown(rest_json::encode::<Invoke>(&output))}))
            }
            name => dispatch!(name, encode(output)),
        },
        Command::Fault { code, message, members, typed } => {
            let code: &'static FaultCode = fault::ALL.iter().find(|known| known.name == code).ok_or("no such code")?;
            let mut fault = Fault::new(code, message);
            for (name, value) in members {
                fault = fault.with(name.leak(), value);
            }
            let fault = if typed { fault } else { fault.without_type() };
            Ok(json!({"answer": shown(rest_json::encode_fault(&fault))}))
        }
        Command::Caller { authorization, query } => {
            let Caller { access_key, account, region, service } =
                Caller::of(authorization.as_deref(), query.as_deref());
            Ok(json!({"access_key": access_key, "account": account, "region": region, "service": service}))
        }
        Command::Sign(command) => sign(command),
    }
}

fn decode<O>(labels: &Labels, query: Option<&str>, headers: &HeaderMap, body: Bytes) -> Result<Decoded, Box<dyn Error>>
where
    O: Operation<Input: Serialize>,
{
    Ok(rest_json::decode::<O>(labels, query, headers, body).map(|input| json!({"input": input})))
}

fn encode<O>(output: Value) -> Outcome
where
    O: Operation<Output: DeserializeOwned>,
{
    Ok(json!({"answer": shown(rest_json::encode::<O>(&serde_json::from_value(output)?))}))
}

fn sign(command: SignCommand) -> Outcome {
    let mut request =
        Request::builder().method(command.method.as_str()).uri(command.uri).body(STANDARD.decode(command.body)?)?;
    *request.headers_mut() = header_map(&command.headers)?;
    let signer = Signer {
        access_key: &command.access_key,
        secret_key: &command.secret_key,
        session_token: command.session_token.as_deref(),
        region: &command.region,
        service: &command.service,
    };
    signer.sign(&mut request, Timestamp::from_millis(command.millis))?;
    Ok(json!({"headers": pairs(request.headers())}))
}

fn shown(answer: Answer) -> Value {
    json!({
        "status": answer.status().as_u16(),
        "headers": pairs(answer.headers()),
        "body": STANDARD.encode(answer.body()),
    })
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

fn header_map(pairs: &[(String, String)]) -> Result<HeaderMap, Box<dyn Error>> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name.parse::<HeaderName>()?, HeaderValue::from_bytes(value.as_bytes())?);
    }
    Ok(headers)
}
