//! `/video/generations/jobs`: a job that is done when it is looked at the second time, and the
//! generation whose content it names. The same under `/videos`, in OpenAI's shape.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::call::Call;
use super::super::clock;
use super::super::state::State;
use super::super::wire::Reply;
use super::store::{Store, new_id};
use super::{Answered, bad, deleted, form, media, missing, no_method, ok};

const JOB: &str = "video.generation.job";
const VIDEO: &str = "video";

pub(super) fn reply(state: &State, call: &Call) -> Answered {
    let mut store = state.store();
    let rest: Vec<&str> = call.rest().iter().map(String::as_str).collect();
    match call.collection() {
        "videos" => return videos(&mut store, call, &rest),
        "video/generations" => {
            return match rest.as_slice() {
                [id, "content", "video"] => content(&mut store, JOB, id),
                _ => Err(super::super::openai::not_found()),
            };
        }
        _ => {}
    }
    match (&call.head.method, rest.as_slice()) {
        (&Method::GET, []) => Ok(ok(&store.list(JOB, "", call))),
        (&Method::POST, []) => {
            let job = json!({
                "object": JOB,
                "id": new_id("task_"),
                "status": "queued",
                "created_at": clock::now_secs(),
                "finished_at": null,
                "expires_at": clock::now_secs() + 86_400,
                "generations": [],
                "prompt": prompt(call)?,
                "model": call.deployment,
                "n_variants": 1,
                "n_seconds": call.member("n_seconds").cloned().unwrap_or(5.into()),
                "height": call.member("height").cloned().unwrap_or(1080.into()),
                "width": call.member("width").cloned().unwrap_or(1920.into()),
                "failure_reason": null,
            });
            store.add(JOB, job.clone());
            Ok(Reply::json(StatusCode::CREATED, &job))
        }
        (&Method::GET, [id]) => look(&mut store, JOB, id, "succeeded"),
        (&Method::DELETE, [id]) => match store.remove(JOB, id) {
            true => Ok(Reply::text(StatusCode::NO_CONTENT, "")),
            false => Err(missing(JOB, id)),
        },
        _ => Err(no_method()),
    }
}

fn videos(store: &mut Store, call: &Call, rest: &[&str]) -> Answered {
    match (&call.head.method, rest) {
        (&Method::GET, []) => Ok(ok(&store.list(VIDEO, "", call))),
        (&Method::POST, []) => {
            let video = json!({
                "id": new_id("video_"),
                "object": VIDEO,
                "model": call.deployment,
                "status": "queued",
                "progress": 0,
                "created_at": clock::now_secs(),
                "completed_at": null,
                "expires_at": null,
                "error": null,
                "prompt": prompt(call)?,
                "remixed_from_video_id": null,
                "size": "720x1280",
                "seconds": "4",
            });
            store.add(VIDEO, video.clone());
            Ok(ok(&video))
        }
        (&Method::GET, [id]) => look(store, VIDEO, id, "completed"),
        (&Method::GET, [id, "content"]) => content(store, VIDEO, id),
        (&Method::DELETE, [id]) => match store.remove(VIDEO, id) {
            true => Ok(deleted("video.deleted", id)),
            false => Err(missing(VIDEO, id)),
        },
        _ => Err(no_method()),
    }
}

fn prompt(call: &Call) -> Result<String, super::Refusal> {
    let own = call.member("prompt").and_then(Value::as_str).map(str::to_owned);
    let text = "Missing required parameter: 'prompt'.";
    own.or_else(|| form::text(&form::parts(call), "prompt")).ok_or_else(|| bad("prompt", text))
}

/// The first look finds it running, the second done.
fn look(store: &mut Store, kind: &'static str, id: &str, done: &str) -> Answered {
    let job = store.get(kind, id).ok_or_else(|| missing(kind, id))?;
    job.asked += 1;
    let status = if job.asked > 1 { done } else { "in_progress" };
    job.value["status"] = if kind == JOB && job.asked == 1 { "running" } else { status }.into();
    if job.asked > 1 {
        job.value["progress"] = 100.into();
        job.value["completed_at"] = clock::now_secs().into();
    }
    if job.asked > 1 && kind == JOB {
        let generation = json!({
            "object": "video.generation", "id": id.replace("task_", "gen_"), "job_id": id,
            "created_at": clock::now_secs(), "width": 1920, "height": 1080, "n_seconds": 5,
            "prompt": job.value["prompt"],
        });
        job.value["generations"] = json!([generation]);
    }
    Ok(ok(&job.value))
}

/// Bytes under the name of a video.
fn content(store: &mut Store, kind: &'static str, id: &str) -> Answered {
    let job = if kind == JOB { id.replace("gen_", "task_") } else { id.to_owned() };
    store.get(kind, &job).ok_or_else(|| missing(kind, id))?;
    Ok(Reply::new(StatusCode::OK, "video/mp4", media::picture_bytes()))
}
