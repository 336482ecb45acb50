//! What one side writes the other reads, whole or in pieces; and whatever else comes is refused or waited for, never a
//! panic, never more memory than the limits allow.

#![allow(clippy::unwrap_used, reason = "how a test fails")]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::PathBuf;
use uuid::Uuid;
use warmpod_link::control::{
    Channel, Code, EnvironmentId, Held, InitOutcome, InitReport, LogEvent, LogFormat, MAX_MESSAGE, decode, encode,
};
use warmpod_link::frame::{HEAD, InvokeMeta, MAX_BODY};
use warmpod_link::{Claim, Credential, FromAgent, Head, Hello, Kind, LinkError, ToAgent, WorkerId};

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn credential() -> impl Strategy<Value = Credential> {
    any::<[u8; 32]>().prop_map(Credential)
}

fn environment() -> impl Strategy<Value = EnvironmentId> {
    (".*", ".*", uuid()).prop_map(|(function_arn, version, generation)| EnvironmentId {
        function_arn,
        version,
        generation,
    })
}

fn held() -> impl Strategy<Value = Held> {
    prop_oneof![
        Just(Held::Starting),
        Just(Held::Generic),
        (environment(), any::<bool>()).prop_map(|(environment, busy)| Held::Bound { environment, busy }),
    ]
}

fn hello() -> impl Strategy<Value = Hello> {
    let channel = prop_oneof![Just(Channel::Control), Just(Channel::Invocation)];
    (any::<u16>(), uuid(), any::<u64>(), channel, credential(), held()).prop_map(
        |(version, worker, class, channel, credential, held)| Hello {
            version,
            worker: WorkerId(worker),
            class,
            channel,
            credential,
            held,
        },
    )
}

fn code() -> impl Strategy<Value = Code> {
    "[a-z/]{0,40}".prop_map(|path| Code::Directory(PathBuf::from(path)))
}

fn claim() -> impl Strategy<Value = Claim> {
    let texts = (".*", ".*", ".*", ".*", ".*");
    let numbers = any::<[u32; 5]>();
    let format = prop_oneof![Just(LogFormat::Text), Just(LogFormat::Json)];
    let rest = (vec((".*", ".*"), 0..8), code(), vec(code(), 0..4), option::of((".*", ".*")), format);
    (environment(), texts, numbers, rest).prop_map(
        |(environment, texts, numbers, (variables, code, layers, runtime_version, log_format))| Claim {
            environment,
            function_name: texts.0,
            invoked_arn: texts.1,
            account: texts.2,
            handler: texts.3,
            memory_mib: numbers[0],
            timeout_ms: numbers[1],
            ephemeral_mib: numbers[2],
            init_timeout_ms: numbers[3],
            max_response: numbers[4],
            variables,
            code,
            layers,
            log_format,
            runtime_version,
            initialization_type: texts.4,
        },
    )
}

fn to_agent() -> impl Strategy<Value = ToAgent> {
    prop_oneof![
        credential().prop_map(|secret| ToAgent::Welcome { secret }),
        claim().prop_map(|claim| ToAgent::Claim(Box::new(claim))),
        Just(ToAgent::Shutdown),
    ]
}

fn from_agent() -> impl Strategy<Value = FromAgent> {
    let outcome = prop_oneof![
        Just(InitOutcome::Succeeded),
        ".*".prop_map(|error_type| InitOutcome::Failed { error_type }),
        Just(InitOutcome::TimedOut),
    ];
    let event = (any::<u64>(), vec(any::<u8>(), 0..100)).prop_map(|(time_ms, line)| LogEvent { time_ms, line });
    prop_oneof![
        vec(".*", 0..4).prop_map(|layers| FromAgent::Warm { layers }),
        (outcome, any::<u64>())
            .prop_map(|(outcome, duration_us)| FromAgent::Ready(InitReport { outcome, duration_us })),
        ".*".prop_map(|reason| FromAgent::ClaimFailed { reason }),
        Just(FromAgent::Idle),
        vec(event, 0..10).prop_map(FromAgent::Logs),
        any::<(u64, u64)>().prop_map(|(events, bytes)| FromAgent::LogsDropped { events, bytes }),
        ".*".prop_map(|reason| FromAgent::Failed { reason }),
    ]
}

/// The message comes back whole, is waited for while bytes are missing, and leaves alone what follows it.
fn comes_back<M: Serialize + DeserializeOwned + PartialEq + Debug>(message: &M) {
    let mut bytes = encode(message).unwrap();
    for cut in (0..bytes.len()).step_by(1 + bytes.len() / 64) {
        assert_eq!(decode::<M>(&bytes[..cut]), Ok(None), "{cut} of {}", bytes.len());
    }
    let length = bytes.len();
    bytes.extend_from_slice(b"next");
    let (read, taken) = decode::<M>(&bytes).unwrap().unwrap();
    assert_eq!((&read, taken), (message, length));
}

fn head() -> impl Strategy<Value = Head> {
    let kind = prop_oneof![Just(Kind::Invoke), Just(Kind::Response), Just(Kind::FunctionError)];
    (kind, any::<bool>(), any::<u16>(), 0..=MAX_BODY as u32, uuid())
        .prop_map(|(kind, last, meta, body, request)| Head { kind, last, meta, body, request })
}

proptest! {
    #[test]
    fn a_message_comes_back_as_it_was(
        hello in hello(), to_agent in to_agent(), from_agent in from_agent()
    ) {
        comes_back(&hello);
        comes_back(&to_agent);
        comes_back(&from_agent);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = decode::<Hello>(&bytes);
        let _ = decode::<ToAgent>(&bytes);
        let _ = decode::<FromAgent>(&bytes);
        let _ = Head::decode(&bytes);
        let _ = InvokeMeta::decode(&bytes);
    }

    #[test]
    fn a_changed_byte_is_another_message_or_an_error_but_never_a_panic(
        message in to_agent(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = encode(&message).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(Some((_, taken))) = decode::<ToAgent>(&bytes) {
            prop_assert!(taken <= bytes.len());
        }
    }

    #[test]
    fn a_body_that_claims_to_be_huge_is_refused_or_waited_for(
        claimed in any::<u32>(), bytes in vec(any::<u8>(), 0..64)
    ) {
        let all = [&claimed.to_le_bytes()[..], &bytes].concat();
        match decode::<FromAgent>(&all) {
            Err(LinkError::TooLong(length, limit)) => {
                prop_assert!(length > limit && limit == MAX_MESSAGE);
            }
            Err(LinkError::Malformed(_)) | Ok(Some(_)) => prop_assert!(claimed as usize <= bytes.len()),
            Ok(None) => prop_assert!(claimed as usize > bytes.len()),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn a_head_comes_back_as_it_was(head in head(), rest in vec(any::<u8>(), 0..8)) {
        let bytes = [&head.encode()[..], &rest].concat();
        prop_assert_eq!(Head::decode(&bytes), Ok(Some(head)));
        for cut in 0..HEAD {
            prop_assert_eq!(Head::decode(&bytes[..cut]), Ok(None));
        }
        prop_assert_eq!(head.frame_len(), HEAD + usize::from(head.meta) + head.body as usize);
    }

    #[test]
    fn only_known_kinds_and_bodies_within_the_limit_are_heads(bytes in any::<[u8; HEAD]>()) {
        let body = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        match Head::decode(&bytes) {
            Ok(Some(head)) => prop_assert!(head.body as usize <= MAX_BODY && (1..=3).contains(&bytes[0])),
            Err(LinkError::UnknownKind(kind)) => prop_assert!(!(1..=3).contains(&kind)),
            Err(LinkError::TooLong(length, MAX_BODY)) => prop_assert_eq!(length, body),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn the_meta_part_comes_back_as_it_was(
        texts in (".*", ".*"), optional in (option::of(".*"), option::of(".*")), tail in any::<bool>()
    ) {
        let meta = InvokeMeta {
            trace_id: &texts.0,
            invoked_arn: &texts.1,
            client_context: optional.0.as_deref(),
            cognito_identity: optional.1.as_deref(),
            tail,
        };
        let bytes = meta.encode().unwrap();
        prop_assert_eq!(InvokeMeta::decode(&bytes), Ok(meta));
        for cut in 0..bytes.len() {
            prop_assert!(InvokeMeta::decode(&bytes[..cut]).is_err());
        }
    }
}

#[test]
fn what_is_over_a_limit_cannot_be_written() {
    let long = "x".repeat(MAX_MESSAGE);
    assert!(matches!(encode(&FromAgent::Failed { reason: long }), Err(LinkError::TooLong(..))));
    let long = "x".repeat(usize::from(u16::MAX));
    let meta = InvokeMeta { client_context: Some(&long), ..InvokeMeta::default() };
    assert!(matches!(meta.encode(), Err(LinkError::TooLong(..))));
}

#[test]
fn a_length_in_a_message_that_its_bytes_cannot_hold_is_malformed() {
    // Logs with 2^60 events, in a message of a few bytes.
    let events = [4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
    let bytes = [&(events.len() as u32).to_le_bytes()[..], &events].concat();
    assert!(matches!(decode::<FromAgent>(&bytes), Err(LinkError::Malformed(_))));
}

#[test]
fn a_credential_is_never_printed() {
    let message = ToAgent::Welcome { secret: Credential([0xab; 32]) };
    assert_eq!(format!("{message:?}"), "Welcome { secret: Credential(…) }");
}
