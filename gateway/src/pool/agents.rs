//! The door where agents dial in: hellos are checked, then a connection goes to the pool's owner (invocations) or gets a
//! task of its own (control).
//!
//! Bytes from here are hostile: an agent shares a machine with the function it serves. A connection has five seconds for
//! its hello, messages are bounded, and the first one that cannot be read ends the connection.

use super::driver::Message;
use super::environment::Environment;
use super::identity::{InstallationKey, same};
use bytes::{Buf, BytesMut};
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warmpod_link::control::{self, Channel, FromAgent, Hello, ToAgent};
use warmpod_link::{LinkError, VERSION, WorkerId};

const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages to one agent that may wait for it to read.
const OUTBOX: usize = 16;

/// What the owner knows of a worker that has dialled in.
pub struct AgentUp {
    pub hello: Hello,
    pub outbox: mpsc::Sender<ToAgent>,
    pub pid: Option<u32>,
}

#[derive(Clone)]
pub struct Door {
    pub key: InstallationKey,
    pub owner: mpsc::Sender<Message>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    /// Workers whose token has not been spent yet.
    pub expected: Expected,
}

/// The workers that were started and have not dialled in: only their tokens are good.
#[derive(Clone, Default)]
pub struct Expected(Arc<Mutex<HashSet<WorkerId>>>);

impl Expected {
    pub fn add(&self, worker: WorkerId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(worker);
    }

    /// True the first time.
    pub fn spend(&self, worker: WorkerId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&worker)
    }
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("an agent's connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("an agent closed its connection before its hello")]
    Closed,
    #[error("an agent speaks version {0} of the link; this gateway speaks {VERSION}")]
    Version(u16),
    #[error("worker {0} showed a credential that is not its own")]
    Credential(WorkerId),
    #[error("worker {0} is not expected (any more) and was told to leave")]
    Unexpected(WorkerId),
    #[error("no hello within {} seconds", HELLO_TIMEOUT.as_secs())]
    Late,
}

impl Door {
    pub async fn serve(self, listener: UnixListener) {
        loop {
            let socket = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => socket,
                    Err(error) => {
                        // Out of descriptors, most likely: the next accept fails as well until some are free again.
                        tracing::warn!(%error, "cannot accept an agent's connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let door = self.clone();
            self.tasks.spawn(async move {
                if let Err(refused) = door.greet(socket).await {
                    tracing::warn!(error = %refused, "an agent was refused");
                }
            });
        }
    }

    async fn greet(self, mut socket: UnixStream) -> Result<(), Refused> {
        let mut received = BytesMut::with_capacity(512);
        let hello = timeout(HELLO_TIMEOUT, read_message::<Hello>(&mut socket, &mut received))
            .await
            .map_err(|_| Refused::Late)??
            .ok_or(Refused::Closed)?;
        if hello.version != VERSION {
            return Err(Refused::Version(hello.version));
        }
        let worker = hello.worker;
        let known = same(&hello.credential, &self.key.secret(worker));
        let begins = !known && hello.channel == Channel::Control && same(&hello.credential, &self.key.token(worker));
        if begins && !self.expected.spend(worker) {
            // Started by a gateway that was killed before it could welcome it, or not wanted any more: nobody will ever
            // expect it, so it need not wait until it is an orphan.
            socket.write_all(&control::encode(&ToAgent::Shutdown)?).await?;
            return Err(Refused::Unexpected(worker));
        }
        if !known && !begins {
            return Err(Refused::Credential(worker));
        }
        match hello.channel {
            Channel::Invocation => {
                let environment = Environment::new(worker, socket, received);
                let _ = self.owner.send(Message::Connected(environment)).await;
            }
            Channel::Control => {
                let pid = socket.peer_cred().ok().and_then(|peer| peer.pid()).and_then(|pid| u32::try_from(pid).ok());
                let (outbox, messages) = mpsc::channel(OUTBOX);
                let (reader, mut writer) = socket.into_split();
                let welcome = control::encode(&ToAgent::Welcome { secret: self.key.secret(worker) })?;
                writer.write_all(&welcome).await?;
                let _ = self.owner.send(Message::AgentUp(Box::new(AgentUp { hello, outbox, pid }))).await;
                self.tasks.spawn(write_messages(writer, messages));
                self.tasks.spawn(read_messages(worker, reader, received, self.owner, self.stop));
            }
        }
        Ok(())
    }
}

async fn write_messages(mut writer: OwnedWriteHalf, mut messages: mpsc::Receiver<ToAgent>) {
    while let Some(message) = messages.recv().await {
        match control::encode(&message) {
            Ok(bytes) => {
                if writer.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::error!(%error, "a message to an agent cannot be encoded"),
        }
    }
}

async fn read_messages(
    worker: WorkerId,
    mut reader: OwnedReadHalf,
    mut received: BytesMut,
    owner: mpsc::Sender<Message>,
    stop: CancellationToken,
) {
    loop {
        if received.is_empty() {
            // Agents are many and mostly silent: room for a message is made when one comes.
            received = BytesMut::new();
            tokio::select! {
                () = stop.cancelled() => return,
                _ = reader.readable() => {}
            }
        }
        let message = tokio::select! {
            () = stop.cancelled() => return,
            message = read_message::<FromAgent>(&mut reader, &mut received) => message,
        };
        match message {
            Ok(Some(message)) => {
                let _ = owner.send(Message::AgentSaid(worker, message)).await;
            }
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%worker, %error, "the agent's control connection ended");
                break;
            }
        }
    }
    let _ = owner.send(Message::AgentGone(worker)).await;
}

async fn read_message<M: serde::de::DeserializeOwned>(
    reader: &mut (impl AsyncReadExt + Unpin),
    received: &mut BytesMut,
) -> Result<Option<M>, Refused> {
    loop {
        if let Some((message, length)) = control::decode(received)? {
            received.advance(length);
            return Ok(Some(message));
        }
        received.reserve(4096);
        if reader.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
}
