//! Keeps a recorder busy as an agent would be: appends from many sides, sessions that come and go.
//!
//! Every decision is drawn from the caller's dice; the clock only decides how far it gets.

use std::time::Instant;

use anyhow::Result;

use crate::child::{Heard, Recorder};
use crate::cloud::Cloud;
use crate::message::{Event, LineageBytes, Order, Sent};
use crate::record::Token;

/// Most records appended by one order.
const BURST_MAX: usize = 12;

/// Most records of one offer.
const OFFER_MAX: usize = 32;

/// Chance of a new session after each event without one.
const REJOIN_OF_256: u8 = 16;

/// How far the session is: what the recorder was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    /// There is none.
    Apart,
    /// Asked for a Hello.
    Greeting,
    /// Told what the Welcome says.
    Welcoming(LineageBytes),
    /// Nothing is under way.
    Ready(LineageBytes),
    /// Asked for an offer.
    Offering(LineageBytes),
    /// Told acknowledgements.
    Acknowledging(LineageBytes),
    /// An order failed; the session ends once all are answered.
    Failed,
}

/// How busy a recorder is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Appends under way at a time.
    pub(crate) appends: usize,
    /// In percent: how often what was sent, or its acknowledgement, is lost with its session.
    pub(crate) lost_percent: u8,
}

impl Pace {
    /// Only sessions, and nothing is lost on the way.
    pub(crate) const DRAIN: Self = Self {
        appends: 0,
        lost_percent: 0,
    };
}

/// See the module.
pub(crate) struct Driver<'a> {
    /// Opened its store already.
    pub(crate) recorder: &'a mut Recorder,
    /// Counts.
    pub(crate) cloud: &'a mut Cloud,
    /// Decides.
    pub(crate) dice: &'a mut fastrand::Rng,
    /// Names the next record.
    pub(crate) next_token: &'a mut Token,
    /// How busy the recorder is kept.
    pub(crate) pace: Pace,
    /// When to end before time is over.
    pub(crate) until: Until,
}

/// When driving ends before time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// When everything is counted; nothing is appended.
    Drained,
    /// When so many appends returned well in all.
    Promised(u64),
    /// When so many appends or sessions failed in all.
    Failed(u64),
    /// When so many appends were answered in all, well or not.
    Answered(u64),
    /// When something failed, and since then so many appends returned well.
    WellAgain(u64),
    /// Never.
    Killed,
}

impl Until {
    fn reached(self, cloud: &Cloud, idle: bool) -> bool {
        let failed = cloud.refused() + cloud.sessions_failed;
        match self {
            Self::Drained => idle,
            Self::Promised(total) => cloud.promised() >= total,
            Self::Failed(total) => failed >= total,
            Self::Answered(total) => cloud.promised() + cloud.refused() >= total,
            Self::WellAgain(appends) => failed > 0 && cloud.well_since >= appends,
            Self::Killed => false,
        }
    }
}

/// Why driving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Time is over.
    InTime,
    /// What was asked for is reached, and nothing is under way.
    Enough,
    /// The recorder ended by itself.
    ByItself,
}

/// What one run of a driver knows.
struct Run {
    session: Session,
    /// Orders of the session that wait for their answer.
    asked: usize,
    under_way: usize,
    /// The last offer was empty, and nothing was appended since.
    idle: bool,
}

impl Run {
    /// Whether no order waits for its answer.
    fn quiet(&self) -> bool {
        self.asked == 0 && self.under_way == 0
    }
}

impl Driver<'_> {
    /// Drives until `deadline`, or with no appends until all is drained.
    ///
    /// # Errors
    /// When the pipe breaks.
    pub(crate) fn run(mut self, deadline: Instant) -> Result<Ended> {
        let mut run = Run {
            session: Session::Apart,
            asked: 0,
            under_way: 0,
            idle: false,
        };
        // Some begin with a session, which checks everything kept; some record first.
        if self.until == Until::Drained || self.dice.bool() {
            self.greet(&mut run);
        }
        loop {
            if !self.until.reached(self.cloud, run.idle) {
                self.feed(&mut run);
            } else if run.quiet() {
                return Ok(Ended::Enough);
            }
            match self.recorder.hear(deadline)? {
                Heard::Event(event) => self.take(event, &mut run),
                Heard::Silence => return Ok(Ended::InTime),
                Heard::End => return Ok(Ended::ByItself),
            }
        }
    }

    fn feed(&mut self, run: &mut Run) {
        while run.under_way < self.pace.appends {
            let burst = self.dice.usize(1..=BURST_MAX);
            let first = *self.next_token;
            *self.next_token += burst as u64;
            run.under_way += burst;
            let tokens = (first..*self.next_token).collect();
            self.recorder.order(&Order::Append(tokens));
        }
        match run.session {
            Session::Ready(lineage) if !run.idle => {
                let records = self.dice.usize(1..=OFFER_MAX);
                self.ask(run, &Order::Offer(records));
                run.session = Session::Offering(lineage);
            }
            Session::Apart if self.until == Until::Drained || self.dice.u8(..) < REJOIN_OF_256 => {
                self.greet(run);
            }
            Session::Apart
            | Session::Greeting
            | Session::Welcoming(_)
            | Session::Ready(_)
            | Session::Offering(_)
            | Session::Acknowledging(_)
            | Session::Failed => {}
        }
    }

    fn ask(&mut self, run: &mut Run, order: &Order) {
        self.recorder.order(order);
        run.asked += 1;
    }

    fn greet(&mut self, run: &mut Run) {
        self.ask(run, &Order::Greet);
        run.session = Session::Greeting;
    }

    fn take(&mut self, event: Event, run: &mut Run) {
        match event {
            Event::Appended(token, lineage, sequence) => {
                self.cloud.promise(token, lineage, sequence);
                run.under_way = run.under_way.saturating_sub(1);
                run.idle = false;
            }
            Event::Failed(token, error) => {
                self.cloud.refuse(token, error);
                run.under_way = run.under_way.saturating_sub(1);
            }
            answer => {
                run.asked = run.asked.saturating_sub(1);
                self.answered(answer, run);
                if run.session == Session::Failed && run.asked == 0 {
                    run.session = Session::Apart;
                }
            }
        }
    }

    fn answered(&mut self, answer: Event, run: &mut Run) {
        match (answer, run.session) {
            (Event::SessionFailed(error), _) => {
                self.cloud.session_failed(error);
                run.session = Session::Failed;
            }
            // What was under way when an order failed counts no more.
            (_, Session::Failed) => {}
            (Event::Greeted(hello), Session::Greeting) => {
                self.cloud.greeted(&hello);
                let watermarks = self.cloud.watermarks(hello.lineage);
                self.ask(run, &Order::Welcome(watermarks));
                run.session = Session::Welcoming(hello.lineage);
            }
            (Event::Welcomed, Session::Welcoming(lineage)) => {
                run.session = Session::Ready(lineage);
                run.idle = false;
            }
            (Event::Offered(sent), Session::Offering(lineage)) => {
                run.idle = sent.is_empty();
                run.session = self.receive(lineage, &sent, run);
            }
            (Event::Acknowledged, Session::Acknowledging(lineage)) => {
                if run.asked == 0 {
                    run.session = Session::Ready(lineage);
                }
            }
            (answer, session) => {
                let finding = format!("{answer:?} was said while {session:?}");
                self.cloud.find(finding);
            }
        }
    }

    /// Lets the cloud count what was offered, or loses it, or loses the answer.
    fn receive(&mut self, lineage: LineageBytes, sent: &[Sent], run: &mut Run) -> Session {
        if sent.is_empty() {
            return Session::Ready(lineage);
        }
        if self.dice.u8(0..100) < self.pace.lost_percent {
            return Session::Apart;
        }
        self.cloud.receive(lineage, sent);
        if self.dice.u8(0..100) < self.pace.lost_percent {
            return Session::Apart;
        }
        for (stream, through) in self.cloud.watermarks(lineage) {
            if sent.iter().any(|message| message.stream == stream) {
                self.ask(run, &Order::Acknowledge(stream, through));
            }
        }
        Session::Acknowledging(lineage)
    }
}
