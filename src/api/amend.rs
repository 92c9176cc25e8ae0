//! The management API for another version of a flow: fork a run, upgrade those that stand still.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value as Json_, json};

use super::{Answer, Peer, Server, bad_id, gone, store_failed};
use crate::amend::{Refused, Written};
use crate::divergence::{Difference, Divergence};
use crate::event::RunId;
use crate::settings::Right;
use crate::source::asked::Named;
use crate::source::http::{self, Refusal};
use crate::state::State;
use crate::trial::Trial;
use crate::upgrade::{Page, Place, Suspended, Tried, Upgrade, Verdict};

/// Largest body of a request with a script in it, in bytes: JSON may write a byte as six.
const SCRIPT_REQUEST_BYTES_MAX: usize = 512 * 1024;

/// The routes.
pub(super) fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/api/v1/runs/{id}/fork", post(fork))
        .route("/api/v1/{kind}/{name}/upgrade", post(upgrade))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptAsked {
    name: String,
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ForkAsked {
    at: usize,
    #[serde(default)]
    script: Option<ScriptAsked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpgradeAsked {
    #[serde(default)]
    script: Option<ScriptAsked>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    after: Option<PlaceAsked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceAsked {
    state: String,
    run: Option<String>,
}

async fn fork(state: Server, peer: Peer, Named(id): Named<String>, request: Request) -> Answer {
    let run: RunId = id.parse().map_err(bad_id)?;
    let channel = run.event().channel;
    let person = state.admit(peer, request.headers(), Right::Operate, Some(&channel))?;
    let headers = request.headers().clone();
    let asked: ForkAsked = body(request).await?;
    if asked.script.is_some() {
        may_hand_in(&state, peer, &headers)?;
    }
    let written = asked.script.map(Written::from);
    // On its own: a caller that hangs up leaves no run halted.
    let shared = Arc::clone(&state);
    let forking =
        tokio::spawn(async move { shared.fork((&run, asked.at), written, &person).await });
    let forked = forking.await.map_err(|why| store_failed(&why))?;
    let forked = forked.map_err(refusal)?;
    Ok(Json(json!({ "run": forked.as_str(), "of": id })))
}

async fn upgrade(
    state: Server,
    peer: Peer,
    Named((kind, flow)): Named<(String, String)>,
    request: Request,
) -> Answer {
    let channel = flow.split('/').next().unwrap_or(&flow);
    let person = state.admit(peer, request.headers(), Right::Operate, Some(channel))?;
    if kind != "flows" {
        return Err(gone(&kind));
    }
    let headers = request.headers().clone();
    let asked: UpgradeAsked = body(request).await?;
    if asked.script.is_some() {
        may_hand_in(&state, peer, &headers)?;
    }
    if !asked.dry_run && asked.after.is_none() {
        state.note(&person, &format!("upgrade {flow}")).await?;
    }
    let wish = Upgrade {
        flow,
        script: asked.script.map(Written::from),
        dry_run: asked.dry_run,
        after: asked.after.map(place).transpose()?,
    };
    let shared = Arc::clone(&state);
    let upgrading = tokio::spawn(async move { shared.upgrade(wish).await });
    let page = upgrading.await.map_err(|why| store_failed(&why))?;
    Ok(Json(shown(&page.map_err(refusal)?)))
}

/// A script reaches every channel and every target, so whoever hands one in operates all of them.
fn may_hand_in(state: &State, peer: Peer, headers: &HeaderMap) -> Result<(), Refusal> {
    state.admit(peer, headers, Right::Operate, None).map(drop)
}

async fn body<T: serde::de::DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let bytes = http::whole(request.into_body(), SCRIPT_REQUEST_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|why| {
        let message = format!("the request makes no sense: {why}");
        Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
    })
}

fn place(asked: PlaceAsked) -> Result<Place, Refusal> {
    let wrong = || bad_id(format!("`{}` is neither blocked nor waiting", asked.state));
    Ok(Place {
        state: Suspended::from_word(&asked.state).ok_or_else(wrong)?,
        run: asked
            .run
            .map(|run| run.parse())
            .transpose()
            .map_err(bad_id)?,
    })
}

impl From<ScriptAsked> for Written {
    fn from(asked: ScriptAsked) -> Written {
        Written {
            name: asked.name,
            source: asked.source,
        }
    }
}

fn refusal(why: Refused) -> Refusal {
    let message = why.to_string();
    match why {
        Refused::Gone(name) => gone(&name),
        Refused::Not(_) => Refusal::new(StatusCode::CONFLICT, "refused", message),
        Refused::Mistakes(_) => Refusal::new(StatusCode::BAD_REQUEST, "mistakes", message),
        Refused::Interrupted(why) => store_failed(&why),
    }
}

fn shown(page: &Page) -> Json_ {
    let next = page.next.as_ref().map(|place| {
        json!({ "state": place.state.word(), "run": place.run.as_ref().map(RunId::as_str) })
    });
    let runs: Vec<Json_> = page.runs.iter().map(row).collect();
    json!({ "version": page.version, "runs": runs, "next": next })
}

fn row(tried: &Tried) -> Json_ {
    let mut row = match &tried.verdict {
        Verdict::Safe => json!({ "verdict": "safe" }),
        Verdict::Moved => json!({ "verdict": "moved" }),
        Verdict::Same => json!({ "verdict": "same" }),
        Verdict::Woken => json!({ "verdict": "woken" }),
        Verdict::Unsafe(Trial::Diverges(divergence)) => diverges(divergence),
        Verdict::Unsafe(Trial::Fails(at, message)) => {
            json!({ "verdict": "fails", "at": at, "message": message })
        }
        Verdict::Unsafe(Trial::Safe) => json!({ "verdict": "safe" }),
        Verdict::Unreadable(message) => json!({ "verdict": "unreadable", "message": message }),
    };
    row["run"] = tried.run.as_str().into();
    row["state"] = tried.state.word().into();
    row
}

fn diverges(divergence: &Divergence) -> Json_ {
    let difference = |one: &Difference| json!({ "path": one.path, "recorded": one.recorded, "asked": one.asked });
    let differences: Vec<Json_> = divergence.differences.iter().map(difference).collect();
    json!({
        "verdict": "diverges", "at": divergence.at, "recorded": divergence.recorded,
        "asked": divergence.asked, "differences": differences,
    })
}
