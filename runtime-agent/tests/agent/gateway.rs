//! A gateway as small as a test needs it: it listens on a socket, starts an agent, and speaks the link crate with it.
//!
//! When it is dropped it tells the agent to leave; one that cannot hear ends itself and its processes as an orphan.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;
use warmpod_link::control::{
    Channel, Code, EnvironmentId, Held, InitOutcome, InitReport, LogEvent, LogFormat, decode, encode,
};
use warmpod_link::frame::{HEAD, InvokeMeta};
use warmpod_link::worker::{GatewayAddress, RuntimeSpec, SandboxSpec};
use warmpod_link::{Claim, Credential, FromAgent, Head, Hello, Kind, ToAgent, VERSION, WorkerId, WorkerSpec};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub const TOKEN: Credential = Credential([1; 32]);
pub const SECRET: Credential = Credential([2; 32]);

pub struct Gateway {
    folder: TempDir,
    listener: Option<UnixListener>,
    agent: Child,
    control: Option<Messages>,
    invocation: Option<UnixStream>,
    pub hello: Hello,
    pub warm: bool,
    pub log: Vec<LogEvent>,
    pub dropped: (u64, u64),
    pub idle: usize,
    pub init: Vec<InitReport>,
    claim_failed: Option<String>,
}

/// The control connection with what was read of it.
struct Messages {
    socket: UnixStream,
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub kind: Kind,
    pub tail: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

impl Gateway {
    pub fn start(runtime: RuntimeSpec) -> Gateway {
        Gateway::start_with(runtime, Duration::from_millis(500))
    }

    pub fn start_with(runtime: RuntimeSpec, orphan_timeout: Duration) -> Gateway {
        Gateway::start_in(runtime, orphan_timeout, |_| None)
    }

    /// With a sandbox whose functions' code is in the folder that `sandbox` is given.
    pub fn start_in(
        runtime: RuntimeSpec,
        orphan_timeout: Duration,
        sandbox: impl FnOnce(&Path) -> Option<SandboxSpec>,
    ) -> Gateway {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = folder.path().join("gateway.sock");
        let listener = listen(&path);
        open_to_all(folder.path(), 0o755);
        let spec = WorkerSpec {
            worker: WorkerId(Uuid::new_v4()),
            token: TOKEN,
            gateway: GatewayAddress::Unix(path),
            class: 7,
            orphan_timeout_ms: orphan_timeout.as_millis() as u32,
            runtime,
            sandbox: sandbox(folder.path()),
        };
        let mut agent = Command::new(env!("CARGO_BIN_EXE_warmpod-agent"))
            .stdin(Stdio::piped())
            .env("SECRET_OF_THE_GATEWAY", "must not leak")
            .spawn()
            .unwrap();
        let bytes = postcard::to_stdvec(&spec).unwrap();
        agent.stdin.take().unwrap().write_all(&bytes).unwrap();
        let (control, hello) = accept(&listener);
        assert_eq!((hello.version, hello.worker, hello.class), (VERSION, spec.worker, 7));
        assert_eq!((hello.channel, hello.credential, &hello.held), (Channel::Control, TOKEN, &Held::Starting));
        let mut gateway = Gateway {
            folder,
            listener: Some(listener),
            agent,
            control: Some(control),
            invocation: None,
            hello,
            warm: false,
            log: Vec::new(),
            dropped: (0, 0),
            idle: 0,
            init: Vec::new(),
            claim_failed: None,
        };
        gateway.welcome();
        gateway
    }

    /// Answers a control hello and takes the invocation connection that follows.
    fn welcome(&mut self) {
        self.send(&ToAgent::Welcome { secret: SECRET });
        self.accept_invocation();
    }

    pub fn accept_invocation(&mut self) {
        let (Messages { socket, bytes }, hello) = accept(self.listener.as_ref().unwrap());
        assert!(bytes.is_empty());
        assert_eq!((hello.channel, hello.credential), (Channel::Invocation, SECRET));
        self.invocation = Some(socket);
    }

    /// Closes everything, as a gateway that is killed.
    pub fn vanish(&mut self) {
        (self.listener, self.control, self.invocation) = (None, None, None);
        std::fs::remove_file(self.socket_path()).unwrap();
    }

    pub fn drop_invocation_connection(&mut self) {
        self.invocation = None;
    }

    /// Listens again and takes the agent's control connection.
    pub fn come_back(&mut self) {
        self.listener = Some(listen(&self.socket_path()));
        self.accept_control();
    }

    /// Takes a control connection that was dialled again.
    pub fn accept_control(&mut self) {
        let (control, hello) = accept(self.listener.as_ref().unwrap());
        (self.control, self.hello, self.invocation) = (Some(control), hello, None);
        self.send(&ToAgent::Welcome { secret: SECRET });
    }

    pub fn write_control(&mut self, bytes: &[u8]) {
        self.control.as_mut().unwrap().socket.write_all(bytes).unwrap();
    }

    pub fn write_invocation(&mut self, bytes: &[u8]) {
        self.invocation.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn socket_path(&self) -> PathBuf {
        self.folder.path().join("gateway.sock")
    }

    /// A folder of this test's own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn agent_pid(&self) -> u32 {
        self.agent.id()
    }

    /// How often the agent woke up while it said nothing for so long.
    pub fn wakeups_in(&mut self, time: Duration) -> u64 {
        let path = format!("/proc/{}/status", self.agent.id());
        let count = || -> u64 {
            let status = std::fs::read_to_string(&path).unwrap();
            let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            switches.unwrap().trim().parse().unwrap()
        };
        let (before, socket) = (count(), &mut self.control.as_mut().unwrap().socket);
        socket.set_read_timeout(Some(time)).unwrap();
        assert!(socket.read(&mut [0]).is_err(), "the agent said something");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        count() - before
    }

    /// Waits for the agent to end by itself.
    pub fn agent_ends(&mut self) -> std::process::ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.agent.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "the agent did not end");
            std::thread::yield_now();
        }
    }

    pub fn send(&mut self, message: &ToAgent) {
        let bytes = encode(message).unwrap();
        self.control.as_mut().unwrap().socket.write_all(&bytes).unwrap();
    }

    /// Reads messages until `done` says that it has seen enough.
    pub fn read_until(&mut self, what: &str, done: impl Fn(&Gateway) -> bool) {
        let since = Instant::now();
        while !done(self) {
            assert!(since.elapsed() < PATIENCE, "{what} did not come; log:\n{}", self.log_text());
            match self.control.as_mut().unwrap().next() {
                Some(FromAgent::Warm { .. }) => self.warm = true,
                Some(FromAgent::Ready(report)) => self.init.push(report),
                Some(FromAgent::Logs(events)) => self.log.extend(events),
                Some(FromAgent::LogsDropped { events, bytes }) => {
                    self.dropped.0 += events;
                    self.dropped.1 += bytes;
                }
                Some(FromAgent::ClaimFailed { reason }) => self.claim_failed = Some(reason),
                Some(FromAgent::Idle) => self.idle += 1,
                Some(other) => panic!("while waiting for {what}: {other:?}"),
                None => panic!("the agent left before {what}; log:\n{}", self.log_text()),
            }
        }
    }

    pub fn wait_for_warm(&mut self) {
        self.read_until("Warm", |gateway| gateway.warm);
    }

    /// Claims the worker and waits for its Ready.
    pub fn claim(&mut self, claim: Claim) -> InitReport {
        self.wait_for_warm();
        self.send(&ToAgent::Claim(Box::new(claim)));
        self.next_init()
    }

    /// The reason why the agent cannot carry out its claim.
    pub fn claim_fails(&mut self) -> String {
        self.read_until("ClaimFailed", |gateway| gateway.claim_failed.is_some());
        self.claim_failed.take().unwrap()
    }

    pub fn next_init(&mut self) -> InitReport {
        self.read_until("Ready", |gateway| !gateway.init.is_empty());
        self.init.remove(0)
    }

    /// Claims, and expects a good init.
    pub fn claim_well(&mut self, claim: Claim) -> InitReport {
        let report = self.claim(claim);
        assert_eq!(report.outcome, InitOutcome::Succeeded, "log:\n{}", self.log_text());
        report
    }

    pub fn invoke(&mut self, event: &[u8]) -> Answer {
        let request = self.begin(event, &InvokeMeta::default());
        self.answer(request)
    }

    /// Invokes and gives the log's tail too.
    pub fn invoke_with_tail(&mut self, event: &[u8]) -> Answer {
        let request = self.begin(event, &InvokeMeta { tail: true, ..InvokeMeta::default() });
        self.answer(request)
    }

    /// Sends an invocation without waiting for its answer.
    pub fn begin(&mut self, event: &[u8], meta: &InvokeMeta<'_>) -> Uuid {
        let meta = meta.encode().unwrap();
        let request = Uuid::new_v4();
        let head = Head { kind: Kind::Invoke, last: true, meta: meta.len() as u16, body: event.len() as u32, request };
        let bytes = [&head.encode()[..], &meta, event].concat();
        self.invocation.as_mut().unwrap().write_all(&bytes).unwrap();
        request
    }

    pub fn answer(&mut self, request: Uuid) -> Answer {
        let socket = self.invocation.as_mut().unwrap();
        let mut head = [0; HEAD];
        socket.read_exact(&mut head).expect("an answer");
        let head = Head::decode(&head).unwrap().unwrap();
        assert_eq!((head.request, head.last), (request, true));
        let mut meta = vec![0; usize::from(head.meta)];
        let mut body = vec![0; head.body as usize];
        socket.read_exact(&mut meta).unwrap();
        socket.read_exact(&mut body).unwrap();
        Answer { kind: head.kind, tail: String::from_utf8(meta).unwrap(), body }
    }

    /// Whether the agent closed the invocation connection.
    pub fn invocation_connection_ends(&mut self) {
        let mut rest = Vec::new();
        self.invocation.as_mut().unwrap().read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "an unexpected frame");
        self.invocation = None;
    }

    pub fn log_text(&self) -> String {
        self.log.iter().map(|event| String::from_utf8_lossy(&event.line)).collect()
    }

    /// The log's events once one of them holds `text`.
    pub fn log_with(&mut self, text: &str) -> String {
        self.read_until(text, |gateway| gateway.log_text().contains(text));
        self.log_text()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let (Some(control), Ok(bytes)) = (&mut self.control, encode(&ToAgent::Shutdown)) {
            // Else it ends as an orphan, a little later.
            let _ = control.socket.write_all(&bytes);
        }
        (self.listener, self.control, self.invocation) = (None, None, None);
        let since = Instant::now();
        while matches!(self.agent.try_wait(), Ok(None)) {
            if since.elapsed() > PATIENCE {
                // Rather leftovers than a test that hangs.
                let _ = self.agent.kill();
                let _ = self.agent.wait();
                return;
            }
            std::thread::yield_now();
        }
    }
}

impl Messages {
    /// The next message. None: the connection is closed.
    fn next<M: serde::de::DeserializeOwned>(&mut self) -> Option<M> {
        loop {
            if let Some((message, length)) = decode(&self.bytes).unwrap() {
                self.bytes.drain(..length);
                return Some(message);
            }
            let mut more = [0; 64 * 1024];
            match self.socket.read(&mut more) {
                Ok(0) => return None,
                Ok(count) => self.bytes.extend_from_slice(&more[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no message from the agent"),
                Err(_) => return None,
            }
        }
    }
}

/// A sandboxed agent has another id than the gateway.
fn listen(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).unwrap();
    open_to_all(path, 0o777);
    listener
}

fn open_to_all(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Takes a connection and its hello.
fn accept(listener: &UnixListener) -> (Messages, Hello) {
    let (socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut messages = Messages { socket, bytes: Vec::new() };
    let hello = messages.next().expect("a hello");
    (messages, hello)
}

/// A claim for a function whose code is in `code`.
pub fn claim(code: &Path, handler: &str) -> Claim {
    let variables = [
        ("_HANDLER", handler),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "f"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/f"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]0"),
        ("AWS_ACCESS_KEY_ID", "AKIDOFTHEFUNCTION"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "session"),
        ("LAMBDA_TASK_ROOT", "/var/task"),
        ("LANG", "en_US.UTF-8"),
        ("LC_CTYPE", "C.UTF-8"),
        ("TZ", ":UTC"),
        ("PYTHONPATH", "/var/runtime"),
        ("PATH", "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
        (
            "LD_LIBRARY_PATH",
            "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
        ),
    ];
    Claim {
        environment: EnvironmentId {
            function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
            version: "$LATEST".to_owned(),
            generation: Uuid::new_v4(),
        },
        function_name: "f".to_owned(),
        invoked_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
        account: "000000000000".to_owned(),
        handler: handler.to_owned(),
        memory_mib: 512,
        timeout_ms: 60_000,
        ephemeral_mib: 512,
        init_timeout_ms: 60_000,
        max_response: 6_291_556,
        variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        code: Code::Directory(code.to_owned()),
        layers: Vec::new(),
        log_format: LogFormat::Text,
        runtime_version: Some(("test:1.v1".to_owned(), "arn:aws:lambda:us-east-1::runtime:0".to_owned())),
        initialization_type: "on-demand".to_owned(),
    }
}

/// A folder with a function's files.
pub fn code(files: &[(&str, &str)]) -> TempDir {
    code_in(&std::env::temp_dir(), files)
}

pub fn code_in(parent: &Path, files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir_in(parent).unwrap();
    open_to_all(folder.path(), 0o755);
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        open_to_all(&path, 0o755);
    }
    folder
}

/// Resident memory of a process in KiB.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
