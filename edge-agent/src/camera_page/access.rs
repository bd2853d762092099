//! Who may see the page: people at this machine, and those who have the token.
//!
//! A browser shows the token once, in a form or in a link (`/pipelines?token=...`, for a code on the box), and keeps
//! a cookie made of it that scripts cannot read; the address it ends up at has no token in it. Programs send
//! `Authorization: Bearer TOKEN`.
//!
//! "At this machine" means a connection from a loopback address, to a loopback name, and through no proxy. The name
//! is looked at because a site on the internet can point its own name at 127.0.0.1 and let a browser on this machine
//! ask (DNS rebinding).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Form;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;
use tokio::time::Instant;

use super::token::PageToken;
use crate::serving::Peer;

/// Name of the cookie.
const COOKIE: &str = "millwright_page";

/// How long a browser keeps it: a shift.
const COOKIE_SECONDS: u32 = 12 * 60 * 60;

/// Wrong tokens that are looked at within [`FAILURES_FOR`], from everybody together. A person mistypes a few.
const FAILURES_MAX: u32 = 20;

/// How long wrong tokens count.
const FAILURES_FOR: Duration = Duration::from_secs(60);

/// Headers a proxy adds: who asks is then not who is connected.
const PROXY_HEADERS: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

const SIGN_IN: &str = include_str!("sign-in.html");

/// Where the page says something went wrong; nothing of it comes from a request.
const PLACE_OF_PROBLEM: &str = "<!-- problem -->";

/// Decides who may see the page.
#[derive(Debug)]
pub(super) struct Access {
    token: Option<PageToken>,
    // Owned by `try_token`; held for a comparison of numbers.
    failures: Mutex<(u32, Option<Instant>)>,
}

enum Tried {
    Right,
    Wrong,
    TooMany,
}

impl Access {
    pub(super) fn new(token: Option<PageToken>) -> Self {
        Self {
            token,
            failures: Mutex::default(),
        }
    }

    fn may_see(&self, peer: Option<Peer>, headers: &HeaderMap) -> bool {
        if is_local(peer, headers) {
            return true;
        }
        let Some(token) = &self.token else {
            return false;
        };
        if cookies(headers).any(|value| token.is_cookie(value)) {
            return true;
        }
        let bearer = text(headers, header::AUTHORIZATION.as_str())
            .and_then(|value| value.strip_prefix("Bearer "));
        bearer.is_some_and(|bearer| matches!(self.try_token(bearer), Tried::Right))
    }

    fn try_token(&self, text: &str) -> Tried {
        let Some(token) = &self.token else {
            return Tried::Wrong;
        };
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures
            .1
            .is_some_and(|since| since.elapsed() >= FAILURES_FOR)
        {
            *failures = (0, None);
        }
        if failures.0 >= FAILURES_MAX {
            return Tried::TooMany;
        }
        if token.is(text.trim()) {
            return Tried::Right;
        }
        failures.0 += 1;
        failures.1.get_or_insert_with(Instant::now);
        Tried::Wrong
    }

    /// Lets a browser in that showed the token.
    fn answer(&self, shown: &str) -> Response {
        match (self.try_token(shown), &self.token) {
            (Tried::Right, Some(token)) => {
                let cookie = format!(
                    "{COOKIE}={}; Path=/pipelines; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Strict",
                    token.cookie()
                );
                ([(header::SET_COOKIE, cookie)], Redirect::to("/pipelines")).into_response()
            }
            (Tried::TooMany, _) => ask(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many wrong tokens. Try again in a minute.",
            ),
            (Tried::Right | Tried::Wrong, _) => ask(
                StatusCode::UNAUTHORIZED,
                "That is not the token of this node.",
            ),
        }
    }

    /// What somebody gets who may not see the page.
    fn refuse(&self, request: &Request) -> Response {
        if self.token.is_none() {
            let told = "this page is only for a browser on this machine: to open it to others, \
                        set `page: {token: ...}` in edge-agent.yaml";
            return (StatusCode::FORBIDDEN, told).into_response();
        }
        if request.uri().path() == "/pipelines" {
            return ask(StatusCode::UNAUTHORIZED, "");
        }
        (StatusCode::UNAUTHORIZED, "sign in at /pipelines").into_response()
    }
}

/// Lets a request pass, or asks for the token.
pub(super) async fn guard(
    State(access): State<Arc<Access>>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request
        .extensions()
        .get::<ConnectInfo<Peer>>()
        .map(|ConnectInfo(peer)| *peer);
    if request.uri().path() == "/pipelines"
        && let Some(shown) = token_of_query(request.uri().query())
    {
        return if is_local(peer, request.headers()) {
            Redirect::to("/pipelines").into_response()
        } else {
            access.answer(&shown)
        };
    }
    if access.may_see(peer, request.headers()) {
        next.run(request).await
    } else {
        access.refuse(&request)
    }
}

#[derive(Deserialize)]
pub(super) struct SignIn {
    token: String,
}

/// `POST /pipelines/sign-in`.
pub(super) async fn sign_in(
    State(access): State<Arc<Access>>,
    Form(form): Form<SignIn>,
) -> Response {
    access.answer(&form.token)
}

fn ask(status: StatusCode, problem: &'static str) -> Response {
    (status, Html(SIGN_IN.replace(PLACE_OF_PROBLEM, problem))).into_response()
}

/// Whether a request comes from this machine and is meant for it.
fn is_local(peer: Option<Peer>, headers: &HeaderMap) -> bool {
    let from_here = peer == Some(Peer::Here);
    let to_here = text(headers, header::HOST.as_str()).is_some_and(is_loopback_name);
    let directly = PROXY_HEADERS
        .iter()
        .all(|name| !headers.contains_key(*name));
    from_here && to_here && directly
}

/// Whether a `Host` header names this machine: `localhost` or a loopback address, with any port.
fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

fn token_of_query(query: Option<&str>) -> Option<String> {
    #[derive(Deserialize)]
    struct Shown {
        token: Option<String>,
    }
    let uri = format!("/?{}", query?).parse().ok()?;
    let shown = axum::extract::Query::<Shown>::try_from_uri(&uri).ok()?;
    shown.0.token
}

/// The values of our cookie.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::COOKIE)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
