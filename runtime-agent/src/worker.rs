//! The agent's loop: waits for sockets, pipes and time, and carries out what the environment decides.
//!
//! Order within a round: the log's pipes, then the gateway, then the runtime's connections, then exits, then time. What
//! a function wrote before it answered is in the pipe by then, so it is in the log before END without a further call.
//!
//! A warm invocation is eight system calls: poll, read frame, read `GET next`, write event; poll, read answer, write
//! frame, write 202. The runtime's next `next` is not waited for: it is read when the next invocation comes, or when the
//! log is settled, a few milliseconds later.

mod calls;
mod invocation;
mod wait;

use crate::AgentError;
use crate::clock::{Moment, Now};
use crate::environment::failure::Failure;
use crate::environment::{Action, Environment, Event, Limits, Line};
use crate::gateway::Gateway;
use crate::log::{Context, Log};
use crate::relay::Relay;
use crate::runtime::Runtime;
use crate::runtime_api::RuntimeApi;
use crate::runtime_api::state::RuntimeState;
use crate::sandbox::{Attachment, Ended, ProcessId, Sandbox};
use crate::{journal, memory};
use invocation::Invocation;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use wait::{Ready, Seldom, timespec};
use warmpod_link::WorkerSpec;
use warmpod_link::control::{Claim, Code, FromAgent, Held, ToAgent};
use warmpod_link::worker::Network;

/// How long the last messages may take when the worker leaves.
const FAREWELL: Duration = Duration::from_millis(500);

pub struct Worker {
    gateway: Gateway,
    sandbox: Sandbox,
    api: RuntimeApi,
    /// Only where the worker has a loopback of its own.
    relay: Option<Relay>,
    seldom: Seldom,
    runtime: Runtime,
    log: Log,
    memory: memory::Watch,
    environment: Environment,
    claim: Option<Box<Claim>>,
    /// The runtime's process, and what it may call.
    process: Option<ProcessId>,
    state: RuntimeState,
    invocation: Option<Invocation>,
    actions: VecDeque<Action>,
    now: Now,
    leaving: Option<ExitCode>,
    announced: bool,
}

impl Worker {
    pub fn start(spec: WorkerSpec) -> Result<Worker, AgentError> {
        let now = Now::read();
        // Before the sandbox hides the machine's files.
        let gateway =
            Gateway::new(&spec, now.at).map_err(AgentError::step("open the folder of the gateway's socket"))?;
        let mut sandbox = Sandbox::enter(spec.sandbox.as_ref()).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            AgentError::Sandbox { error, cause }
        })?;
        let own_network = spec.sandbox.as_ref().is_some_and(|spec| !matches!(spec.network, Network::Host { .. }));
        let api = RuntimeApi::listen(own_network).map_err(AgentError::step("listen for the runtime"))?;
        if !own_network {
            sandbox.allow_port(api.port());
        }
        let relay = own_network.then(Relay::listen).transpose().map_err(AgentError::step("listen for the endpoint"))?;
        let log = Log::new().map_err(AgentError::step("make the log's pipes"))?;
        let pipes = log.pipes().into_iter().flatten();
        let others = [api.listener.as_fd(), sandbox.events()].into_iter();
        let seldom = Seldom::of(pipes.chain(others).chain(relay.as_ref().and_then(Relay::listener)))
            .map_err(|errno| AgentError::step("watch its descriptors")(errno.into()))?;
        let runtime = Runtime::prepare(spec.runtime, api.address(), &mut sandbox, &log);
        Ok(Worker {
            gateway,
            sandbox,
            api,
            relay,
            seldom,
            runtime,
            log,
            memory: memory::Watch::default(),
            environment: Environment::new(),
            claim: None,
            process: None,
            state: RuntimeState::Started,
            invocation: None,
            actions: VecDeque::new(),
            now,
            leaving: None,
            announced: false,
        })
    }

    pub fn run(&mut self) -> ExitCode {
        loop {
            self.announce();
            self.gateway.tick(self.now.at);
            if self.gateway.is_orphan(self.now.at) {
                journal::note(format_args!("no gateway for the orphan timeout; the worker ends"));
                self.leaving = Some(ExitCode::FAILURE);
            }
            if let Some(code) = self.leaving {
                self.leave();
                return code;
            }
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(errno) => {
                    journal::note(format_args!("cannot wait for events: {errno}"));
                    return ExitCode::FAILURE;
                }
            };
            self.now = Now::read();
            self.round(&ready);
        }
    }

    fn round(&mut self, ready: &Ready) {
        if ready.log[0] {
            self.log.read_output(self.now);
        }
        if ready.log[1] {
            self.log.read_frames(self.now);
        }
        if ready.control.contains(PollFlags::OUT) {
            self.gateway.flush_control();
        }
        if ready.control.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            for message in self.gateway.read_control(self.now.at) {
                self.obey(message);
            }
        }
        if ready.invocation.contains(PollFlags::OUT) {
            self.gateway.flush_invocation();
        }
        if ready.invocation.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            && self.gateway.read_invocation()
        {
            // The runtime's `next` may be there since the last answer.
            self.settle_next();
            self.take_frame();
        }
        self.serve_runtime(&ready.connections);
        if ready.listener {
            self.api.accept();
        }
        if let Some(relay) = &mut self.relay {
            relay.pass(&ready.relayed);
            if ready.relay {
                relay.accept(|| self.gateway.dial_endpoint());
            }
        }
        if ready.channel {
            self.runtime.read_channel();
        }
        if ready.exits {
            self.take_exits();
        }
        self.pass_time();
        self.take_frame();
    }

    fn pass_time(&mut self) {
        let now = self.now.at;
        if self.settle_at().is_some_and(|at| at <= now) {
            self.settle_next();
        }
        if self.environment.deadline().is_some_and(|at| at <= now) {
            // A runtime that is back in `next` is not late.
            self.settle_next();
            self.apply(Event::Tick);
        }
        if self.look_at().is_some_and(|at| at <= now) && self.memory.look(&self.sandbox, now) {
            self.memory.fill();
            self.apply(Event::Failed(Failure::out_of_memory()));
        }
        self.log.settle(&mut self.gateway, self.now);
    }

    /// When to look at the processes' memory: never while an answered runtime rests.
    fn look_at(&self) -> Option<Moment> {
        let since = self.environment.busy_since()?;
        self.settle_at().is_none().then(|| self.memory.due(since))
    }

    fn obey(&mut self, message: ToAgent) {
        match message {
            ToAgent::Welcome { .. } => {
                if !self.environment.is_invoking() {
                    self.gateway.offer();
                }
            }
            ToAgent::Claim(claim) => self.claim(claim),
            ToAgent::Shutdown => self.leaving = Some(ExitCode::SUCCESS),
        }
    }

    /// Tells the gateway that the generic worker is ready.
    fn announce(&mut self) {
        if !self.announced && self.runtime.is_prepared() && self.gateway.is_up() {
            self.announced = true;
            self.gateway.set_held(Held::Generic);
            self.gateway.send(&FromAgent::Warm { layers: self.sandbox.layers() });
        }
    }

    fn claim(&mut self, claim: Box<Claim>) {
        if self.claim.is_some() {
            return self.claim_failed("the worker is an environment already".to_owned());
        }
        let path = |code: &Code| match code {
            Code::Directory(path) => path.clone(),
        };
        let layers: Vec<PathBuf> = claim.layers.iter().map(path).collect();
        let code = path(&claim.code);
        let attachment = Attachment { code: &code, layers: &layers, ephemeral_mib: claim.ephemeral_mib };
        if let Err(error) = self.sandbox.attach(&attachment) {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            return self.claim_failed(format!("{error}: {cause}"));
        }
        self.environment.claim(Limits {
            init: Duration::from_millis(claim.init_timeout_ms.into()),
            timeout: Duration::from_millis(claim.timeout_ms.into()),
        });
        self.memory.set_limit(claim.memory_mib);
        self.gateway.set_held(Held::Bound { environment: claim.environment.clone(), busy: false });
        self.announced = true;
        self.claim = Some(claim);
        self.api.reset();
        self.log.keep_tail(true, false);
        self.apply(Event::Claimed);
    }

    fn claim_failed(&mut self, reason: String) {
        journal::note(format_args!("the claim failed: {reason}"));
        self.gateway.send(&FromAgent::ClaimFailed { reason });
        self.leaving = Some(ExitCode::FAILURE);
    }

    fn take_exits(&mut self) {
        for (process, ended) in self.sandbox.take_exits() {
            if self.claim.is_none() {
                self.runtime.lose_warm(process);
                continue;
            }
            if self.process != Some(process) {
                continue;
            }
            // What it said and wrote last counts before that it is gone.
            self.hear_out();
            self.log.drain(self.now);
            self.process = None;
            let killed = ended == Ended::Signaled(libc::SIGKILL);
            let out_of_memory = killed && self.memory.explains_kill(&self.sandbox, self.now.at);
            if out_of_memory {
                self.memory.fill();
            }
            self.apply(Event::Exited { ended, out_of_memory });
        }
    }

    /// Tells the environment what happened, and does what it says.
    fn apply(&mut self, event: Event) {
        let mut decided = Vec::new();
        self.environment.apply(event, self.now.at, &mut decided);
        self.actions.extend(decided);
        while let Some(action) = self.actions.pop_front() {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Start => self.start_runtime(),
            Action::End => self.end_processes(),
            Action::Log(line) => self.write_line(&line),
            Action::Ready(report) => {
                self.gateway.send(&FromAgent::Ready(report));
            }
            Action::Deliver => self.deliver(),
            Action::Answer(kind, document) => self.answer(kind, &document),
            Action::Over => self.over(),
        }
    }

    fn start_runtime(&mut self) {
        let Some(claim) = &self.claim else { return };
        self.state = RuntimeState::Started;
        self.memory.restart();
        match self.runtime.start(claim, &mut self.sandbox, &mut self.log, self.now) {
            Ok(process) => self.process = Some(process),
            Err(failure) => {
                let mut decided = Vec::new();
                self.environment.apply(Event::Failed(failure), self.now.at, &mut decided);
                self.actions.extend(decided);
            }
        }
    }

    fn end_processes(&mut self) {
        self.sandbox.kill_all();
        self.process = None;
        self.api.reset();
        self.log.end_of_processes(self.now);
    }

    fn write_line(&mut self, line: &Line) {
        let Some(claim) = &self.claim else { return };
        if let Line::RuntimeDone { .. } = line {
            // What was written in the phase comes before its END.
            self.log.end_of_phase(self.now);
        }
        if let Line::Report { .. } = line {
            let exact = self.invocation.as_ref().is_some_and(|invocation| invocation.tail);
            self.memory.refresh(&self.sandbox, self.now.at, exact);
        }
        let context = Context {
            claim,
            request: self.invocation.as_ref().map(|invocation| invocation.request).unwrap_or_default(),
            trace_id: self.invocation.as_ref().map_or("", |invocation| &invocation.trace_id),
            max_memory_mib: self.memory.max_mib(),
            now: self.now.wall,
        };
        if let Some(text) = crate::log::render(line, &context) {
            self.log.push(self.now.wall, self.now.at, text.into_bytes());
        }
    }

    /// Ends the processes, and gives the last messages a moment.
    fn leave(&mut self) {
        self.sandbox.kill_all();
        self.log.end_of_processes(self.now);
        self.log.flush(&mut self.gateway);
        let until = self.now.at + FAREWELL;
        while let Some(watch) = self.gateway.control().filter(|watch| watch.writes) {
            let left = until.since(Now::read().at);
            if left.is_zero() {
                return;
            }
            let mut fds = [PollFd::from_borrowed_fd(watch.socket, PollFlags::OUT)];
            if poll(&mut fds, Some(&timespec(left))).is_err()
                || fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
            {
                return;
            }
            self.gateway.flush_control();
        }
    }
}
