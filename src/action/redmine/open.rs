//! `redmine::open`: look before creating, so that the same problem has one issue.
//!
//! The marker field carries the flow's `dedup_key`, or without one this run's own key, so that a
//! second try after a crash finds what the first one made. Subjects and projects never count. Where
//! nothing shows the field's number yet, the mark is [`Spelled`] out instead.

use serde_json::{Value as Json, json};

use super::api::Api;
use super::issue::{WISHES, map, summary, wished};
use super::search::{Marker, has, marked, marker_field};
use super::spelled::Spelled;
use crate::action::arguments::Options;
use crate::action::{Call, Failure, path_segment};
use crate::event::Value;

/// What is to be opened.
struct Order<'a> {
    options: Options<'a>,
    project: String,
    /// Given by the flow: an open issue with it is the one.
    dedup_key: Option<String>,
}

/// How an issue is known again.
struct Mark {
    value: String,
    /// The marker field's number, if it can be told.
    field: Option<i64>,
    spelled: Option<Spelled>,
}

impl Mark {
    fn marker(&self) -> Option<Marker<'_>> {
        let value = &self.value;
        self.field.map(|field| Marker { field, value })
    }
}

/// `redmine::open`
pub(super) async fn open(api: &Api<'_>, call: &Call<'_>) -> Result<Value, Failure> {
    let order = order(api, call)?;
    api.user().await?;
    // Redmine has no uniqueness: between looking and creating nobody else of ours may look.
    let value = order.dedup_key.as_deref().unwrap_or(call.key).to_owned();
    let _turn = api.service.memory.turns.take(&value).await;
    let field = marker_field(api, &order.project, order.dedup_key.is_some()).await?;
    let spelled = Spelled::new(api.service.marker_field.as_deref(), &value);
    let mark = Mark {
        value,
        field,
        spelled,
    };
    let found = look(api, call, (&order, &mark)).await?;
    let created = found.is_none();
    let issue = match found {
        Some(issue) => issue,
        None => create(api, (&order, &mark)).await?,
    };
    let issue = ensure_marked(api, issue, (&order, &mark)).await?;
    Ok(outcome(api, &issue, created))
}

fn order<'a>(api: &Api<'_>, call: &Call<'a>) -> Result<Order<'a>, Failure> {
    let known: Vec<&str> = WISHES
        .iter()
        .copied()
        .chain(["project", "dedup_key"])
        .collect();
    let options = Options::new(call.argument(0), &known)?;
    let project = options
        .text("project")?
        .or_else(|| api.service.project.clone());
    let no_project = "`project` is missing, and settings.toml names none under [redmine]";
    options.required_text("subject")?;
    Ok(Order {
        options,
        project: project.ok_or_else(|| Failure::refused(no_project))?,
        dedup_key: options
            .text("dedup_key")?
            .filter(|key| !key.trim().is_empty()),
    })
}

/// With a `dedup_key`: an issue that is not closed. Without one: after a crash, whatever carries
/// this run's own key. The spelled mark is looked for only where one may have been left.
async fn look(
    api: &Api<'_>,
    call: &Call<'_>,
    (order, mark): (&Order<'_>, &Mark),
) -> Result<Option<Json>, Failure> {
    let status = match (&order.dedup_key, call.in_doubt) {
        (Some(_), _) => "o",
        (None, true) => "*",
        (None, false) => return Ok(None),
    };
    if let Some(marker) = mark.marker()
        && let Some(found) = marked(api, marker, status, &order.project).await?
    {
        return Ok(Some(found));
    }
    let may_be_spelled = call.in_doubt || mark.field.is_none();
    match mark.spelled.as_ref().filter(|_| may_be_spelled) {
        Some(spelled) => spelled.find(api, status).await,
        None => Ok(None),
    }
}

async fn create(api: &Api<'_>, (order, mark): (&Order<'_>, &Mark)) -> Result<Json, Failure> {
    let mut body = wished(api, &order.options, &order.project).await?;
    body.insert("project_id".to_owned(), Json::from(order.project.as_str()));
    if let Some(marker) = mark.marker() {
        let mut fields = match body.remove("custom_fields") {
            Some(Json::Array(fields)) => fields,
            _ => Vec::new(),
        };
        fields.push(json!({"id": marker.field, "value": marker.value}));
        body.insert("custom_fields".to_owned(), Json::Array(fields));
    } else if let Some(spelled) = &mark.spelled {
        spelled.write(&mut body);
    }
    let answer = api
        .write("POST", "/issues.json", &json!({ "issue": body }))
        .await;
    match answer {
        Ok(answer) => Ok(answer["issue"].clone()),
        Err(failure) if failure.status == Some(422) => {
            Err(about_project(api, &order.project).await?.unwrap_or(failure))
        }
        Err(failure) => Err(failure),
    }
}

/// Redmine says "Project cannot be blank, Tracker cannot be blank, Status cannot be blank" in the
/// user's language when it means that there is no such project; asking tells.
async fn about_project(api: &Api<'_>, project: &str) -> Result<Option<Failure>, Failure> {
    let path = format!("/projects/{}.json", path_segment(project));
    let why = match api.look(&path, &[]).await {
        Ok(Some(found)) => match found["project"]["status"].as_i64() {
            None | Some(1) => return Ok(None),
            Some(_) => "is closed",
        },
        Ok(None) => "does not exist or is not visible to this key",
        Err(failure) if failure.status == Some(403) => {
            "does not exist or is not visible to this key"
        }
        Err(failure) => return Err(failure),
    };
    let why = format!("project \"{project}\" {why}");
    Ok(Some(Failure::refused(why).status(422)))
}

/// Sees to it that the issue carries the mark, else the next `open` would make another one.
async fn ensure_marked(
    api: &Api<'_>,
    issue: Json,
    (order, mark): (&Order<'_>, &Mark),
) -> Result<Json, Failure> {
    let Some(name) = &api.service.marker_field else {
        return Ok(issue);
    };
    api.learn_from(&issue);
    let id = issue["id"].as_i64().unwrap_or(0);
    // The first issue of all shows the field's number, which nothing else did.
    let field = api.field(name, &order.project).await?;
    let value = mark.value.as_str();
    let marker = field.map(|field| Marker { field, value });
    if marker.is_some_and(|marker| has(&issue, marker)) {
        return Ok(issue);
    }
    if let Some(marker) = marker {
        let mut body = json!({"issue": {"custom_fields": [{"id": marker.field, "value": value}]}});
        let spelled = mark.spelled.as_ref();
        if let Some(description) = spelled.and_then(|spelled| spelled.without(&issue)) {
            body["issue"]["description"] = Json::from(description);
        }
        let path = format!("/issues/{id}.json");
        api.write("PUT", &path, &body).await?;
        let again = api.get(&path, &[]).await?;
        if has(&again["issue"], marker) {
            return Ok(issue);
        }
    }
    if order.dedup_key.is_none() {
        // Only our own key for after a crash; the flow did not ask for it.
        return Ok(issue);
    }
    let why = format!(
        "issue {id} was opened, but its custom field \"{name}\" does not take the dedup_key; enable the field for this project and tracker"
    );
    Err(Failure::refused(why))
}

fn outcome(api: &Api<'_>, issue: &Json, created: bool) -> Value {
    let mut pairs = summary(api.service, issue);
    pairs.push(("created", Value::Bool(created)));
    map(pairs)
}
