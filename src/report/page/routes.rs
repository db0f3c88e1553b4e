//! The HTTP routes: the page, its events, and the same data as JSON. All of them only read, and
//! they read the journal on threads that may block.

use super::super::facts::RunFacts;
use super::events::EventStream;
use super::{Page, document, trial};
use crate::journal::{JournalError, Reader, TrialOrder};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// Largest and default number of trials in one answer.
const MAX_LIMIT: usize = 1000;
const DEFAULT_LIMIT: usize = 50;

/// Adds the routes of this page to an application.
pub fn routes(page: Arc<Page>) -> impl Fn(&mut web::ServiceConfig) + Send + Sync + 'static {
    let page = web::Data::from(page);
    move |config| {
        config
            .app_data(page.clone())
            .route("/", web::get().to(index))
            .route("/events", web::get().to(events))
            .route("/points", web::get().to(points))
            .route("/fragment/trial/{id}", web::get().to(fragment))
            .route("/drawing/{id}.svg", web::get().to(drawing))
            .route("/api/status", web::get().to(status))
            .route("/api/trials", web::get().to(trials))
            .route("/api/trials/{id}", web::get().to(trial_json));
    }
}

type Answer = Result<HttpResponse, Problem>;

/// Why a request fails; answered as JSON.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
struct Problem(StatusCode, String);

impl actix_web::ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0
    }

    fn error_response(&self) -> HttpResponse {
        with_headers(HttpResponse::build(self.0)).json(json!({ "error": self.1 }))
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

/// Adds the headers of every answer.
fn with_headers(mut answer: HttpResponseBuilder) -> HttpResponseBuilder {
    answer
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    answer.insert_header((header::REFERRER_POLICY, "no-referrer"));
    answer
}

fn ok() -> HttpResponseBuilder {
    with_headers(HttpResponse::Ok())
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    web::block(work)
        .await
        .map_err(|error| Problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?
}

/// Runs `work` with an open reader of the run, on a thread that may block.
async fn with_run<T: Send + 'static>(
    page: &Page,
    work: impl FnOnce(PathBuf, Reader) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let dir = page.dir.clone();
    blocking(move || {
        let reader = Reader::open(&dir)?;
        work(dir, reader)
    })
    .await
}

fn not_found(id: u64) -> Problem {
    Problem(StatusCode::NOT_FOUND, format!("there is no trial {id}"))
}

fn trial_id(text: &str) -> Result<u64, Problem> {
    let id = text
        .parse()
        .ok()
        .filter(|id| (1..=i64::MAX as u64).contains(id));
    id.ok_or_else(|| {
        Problem(
            StatusCode::BAD_REQUEST,
            format!("{text:?} is no trial: a trial is a whole number from 1"),
        )
    })
}

async fn index(page: web::Data<Page>) -> Answer {
    page.refresh().await;
    let shown = page.clone();
    let view = blocking(move || Ok(shown.view()?)).await?;
    let html = document::document(
        &view,
        &page.event_id(&view),
        &page.dir.display().to_string(),
    );
    let policy = (header::CONTENT_SECURITY_POLICY, document::POLICY.as_str());
    Ok(ok()
        .insert_header(policy)
        .content_type("text/html; charset=utf-8")
        .body(html))
}

async fn events(page: web::Data<Page>, request: HttpRequest) -> HttpResponse {
    // A browser that connects again names its last event in the header, a new one in the query.
    let header = request
        .headers()
        .get("last-event-id")
        .and_then(|value| value.to_str().ok());
    let query = request
        .query_string()
        .split('&')
        .find_map(|pair| pair.strip_prefix("from="));
    let event_id = header.or(query).unwrap_or("").to_owned();
    ok().content_type("text/event-stream")
        .streaming(EventStream::new(page.into_inner(), &event_id).stream())
}

async fn points(page: web::Data<Page>) -> Answer {
    let view = blocking(move || Ok(page.view()?)).await?;
    let thousandth = |share: f64| (share * 1e3).round() / 1e3;
    let point = |(id, reward): &(u64, f64)| {
        let (across, down) = super::super::chart::position(&view.chart_data, *id, *reward);
        json!([
            id,
            (reward * 1e6).round() / 1e6,
            thousandth(across),
            thousandth(down)
        ])
    };
    Ok(ok().json(view.chart_data.points.iter().map(point).collect::<Vec<_>>()))
}

async fn fragment(page: web::Data<Page>, id: web::Path<String>) -> Answer {
    let id = trial_id(&id)?;
    let html = with_run(&page, move |dir, reader| {
        let row = reader.trial(id)?.ok_or_else(|| not_found(id))?;
        Ok(trial::html(
            &RunFacts::read(&dir),
            &row,
            &reader.epochs(id)?,
            reader.confirmed_trial(id)?.as_ref(),
            reader.last_trial()?,
        ))
    })
    .await?;
    Ok(ok().content_type("text/html; charset=utf-8").body(html))
}

async fn drawing(page: web::Data<Page>, id: web::Path<String>) -> Answer {
    let id = trial_id(&id)?;
    let row = with_run(&page, move |_, reader| {
        reader.trial(id)?.ok_or_else(|| not_found(id))
    })
    .await?;
    let svg = trial::picture(&row.architecture)
        .ok_or_else(|| Problem(StatusCode::NOT_FOUND, format!("trial {id} has no drawing")))?;
    let policy = (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'",
    );
    Ok(ok()
        .insert_header(policy)
        .content_type("image/svg+xml")
        .body(svg))
}

async fn status(page: web::Data<Page>) -> Answer {
    let status = blocking(move || Ok(page.status()?)).await?;
    Ok(ok().json(status))
}

async fn trial_json(page: web::Data<Page>, id: web::Path<String>) -> Answer {
    let id = trial_id(&id)?;
    let row = with_run(&page, move |_, reader| {
        let row = reader.trial(id)?.ok_or_else(|| not_found(id))?;
        let mut value = json!(row);
        value["epochs"] = json!(reader.epochs(id)?);
        value["confirmed"] = json!(reader.confirmed_trial(id)?);
        Ok(value)
    })
    .await?;
    Ok(ok().json(row))
}

async fn trials(page: web::Data<Page>, request: HttpRequest) -> Answer {
    let query_parameters = TrialQuery::parse(request.query_string())
        .map_err(|problem| Problem(StatusCode::BAD_REQUEST, problem))?;
    let answer = with_run(&page, move |_, reader| {
        let TrialQuery {
            status,
            order,
            offset,
            limit,
        } = query_parameters;
        let (total, rows) = reader.page(status.as_deref(), order, offset, limit)?;
        Ok(format!(
            "{{\"total\":{total},\"offset\":{offset},\"limit\":{limit},\"trials\":[{}]}}",
            rows.join(",")
        ))
    })
    .await?;
    Ok(ok().content_type("application/json").body(answer))
}

/// The query parameters of `/api/trials`.
#[derive(Debug, PartialEq)]
struct TrialQuery {
    status: Option<String>,
    order: TrialOrder,
    offset: u64,
    limit: usize,
}

impl TrialQuery {
    fn parse(query: &str) -> Result<Self, String> {
        let mut query_parameters = Self {
            status: None,
            order: TrialOrder::default(),
            offset: 0,
            limit: DEFAULT_LIMIT,
        };
        let pairs: web::Query<Vec<(String, String)>> =
            web::Query::from_query(query).map_err(|error| error.to_string())?;
        for (key, value) in pairs.into_inner() {
            let refuse = |valid: &str| format!("{key}={value}: {valid}");
            match key.as_str() {
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    query_parameters.limit =
                        limit.ok_or_else(|| refuse(&format!("must be 1 to {MAX_LIMIT} trials")))?;
                }
                "offset" => {
                    let offset = value
                        .parse()
                        .ok()
                        .filter(|offset| i64::try_from(*offset).is_ok());
                    query_parameters.offset = offset
                        .ok_or_else(|| refuse("must be how many trials to pass over, 0 or more"))?;
                }
                "sort" => {
                    query_parameters.order = match value.as_str() {
                        "id" => TrialOrder::Oldest,
                        "-id" => TrialOrder::Newest,
                        "reward" => TrialOrder::Worst,
                        "-reward" => TrialOrder::Best,
                        _ => {
                            return Err(refuse(
                                "must be id, -id (newest first), reward or -reward (best first)",
                            ));
                        }
                    };
                }
                "status" => match value.as_str() {
                    "queued" | "running" | "completed" | "pruned" | "failed" | "stopped" => {
                        query_parameters.status = Some(value);
                    }
                    _ => {
                        return Err(refuse(
                            "must be queued, running, completed, failed or stopped",
                        ));
                    }
                },
                _ => {
                    return Err(format!(
                        "{key}: there is no such parameter; there are limit, offset, sort and status"
                    ));
                }
            }
        }
        Ok(query_parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_checked_and_the_message_says_what_is_valid() {
        let all = TrialQuery {
            status: Some("failed".into()),
            order: TrialOrder::Best,
            offset: 20,
            limit: 7,
        };
        assert_eq!(
            TrialQuery::parse("limit=7&offset=20&sort=-reward&status=failed").unwrap(),
            all
        );
        assert_eq!(
            TrialQuery::parse("").unwrap(),
            TrialQuery {
                status: None,
                order: TrialOrder::Oldest,
                offset: 0,
                limit: DEFAULT_LIMIT
            }
        );
        for (query, names) in [
            ("limit=0", "limit=0: must be 1 to 1000"),
            ("limit=many", "limit=many"),
            ("offset=-1", "offset=-1"),
            ("sort=device", "sort=device: must be id"),
            ("status=done", "must be queued"),
            ("page=2", "page: there is no such parameter"),
        ] {
            let message = TrialQuery::parse(query).unwrap_err();
            assert!(message.contains(names), "{message}");
        }
    }
}
