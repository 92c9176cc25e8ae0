//! The stand-in's issue list with Redmine's two filter languages: `cf_1=value` with its operators
//! inside the value, and `f[]=cf_1&op[cf_1]==&v[cf_1][]=value`.

use serde_json::{Value, json};

use super::super::server::{Reply, Seen};
use super::{Issue, State, User, project_of};

/// Issues per page at most; more is cut silently.
const LIMIT_MAX: usize = 100;
/// Issues per page without `limit`, and with `limit=0`.
const LIMIT_DEFAULT: usize = 25;

/// One condition.
struct Filter {
    field: String,
    operator: String,
    values: Vec<String>,
}

impl State {
    pub(super) fn list(&self, user: User, seen: &Seen) -> Reply {
        let project = seen.asked("project_id");
        let sees = matches!(user, User::Bot | User::Admin);
        if project.is_some_and(|project| project_of(project).is_none()) {
            return Reply::empty(404);
        }
        let filters = filters(seen);
        let project = project.and_then(project_of).map(|project| project.0);
        let mut found: Vec<&Issue> = self
            .issues
            .iter()
            .filter(|issue| sees && project.is_none_or(|project| project == issue.project))
            .filter(|issue| filters.iter().all(|filter| self.matches(issue, filter)))
            .collect();
        if seen.asked("sort") != Some("id") {
            found.reverse();
        }
        let number = |name: &str| seen.asked(name)?.parse::<usize>().ok();
        let limit = number("limit")
            .filter(|limit| *limit > 0)
            .unwrap_or(LIMIT_DEFAULT);
        let limit = limit.min(LIMIT_MAX);
        let offset = number("offset").unwrap_or(0);
        let page: Vec<Value> = found
            .iter()
            .skip(offset)
            .take(limit)
            .map(|issue| issue.json())
            .collect();
        Reply::json(
            200,
            &json!({"issues": page, "total_count": found.len(), "offset": offset, "limit": limit}),
        )
    }

    fn matches(&self, issue: &Issue, filter: &Filter) -> bool {
        match filter.field.as_str() {
            "status_id" => match filter.operator.as_str() {
                "o" => !issue.is_closed(),
                "c" => issue.is_closed(),
                "=" => filter.values.contains(&issue.status.to_string()),
                _ => true,
            },
            "subject" => compare(&issue.subject, filter),
            "description" => compare(&issue.description, filter),
            "issue_id" => filter.values.contains(&issue.id.to_string()),
            field => match field.strip_prefix("cf_").and_then(|id| id.parse().ok()) {
                Some(id) if matches!(id, 1 | 2) && !self.unfiltered_fields.contains(&id) => {
                    compare(issue.fields.get(&id).map_or("", String::as_str), filter)
                }
                // An unknown filter is ignored and returns everything.
                _ => true,
            },
        }
    }
}

fn compare(value: &str, filter: &Filter) -> bool {
    let part = |wanted: &String| value.to_lowercase().contains(&wanted.to_lowercase());
    match filter.operator.as_str() {
        "~" => filter.values.iter().any(part),
        "!~" => !filter.values.iter().any(part),
        "!" => !filter.values.iter().any(|wanted| wanted == value),
        "*" => !value.is_empty(),
        "!*" => value.is_empty(),
        _ => filter.values.iter().any(|wanted| wanted == value),
    }
}

fn filters(seen: &Seen) -> Vec<Filter> {
    let values_of = |name: &str| -> Vec<String> {
        let values = seen.query.iter().filter(|(known, _)| known == name);
        values.map(|(_, value)| value.clone()).collect()
    };
    let fields = values_of("f[]");
    if !fields.is_empty() {
        return fields
            .into_iter()
            .map(|field| Filter {
                operator: seen
                    .asked(&format!("op[{field}]"))
                    .unwrap_or("=")
                    .to_owned(),
                values: values_of(&format!("v[{field}][]")),
                field,
            })
            .collect();
    }
    let mut filters: Vec<Filter> = seen
        .query
        .iter()
        .filter(|(name, _)| {
            name.starts_with("cf_") || matches!(name.as_str(), "subject" | "issue_id")
        })
        .map(|(name, value)| short(name, value))
        .collect();
    filters.push(status(seen.asked("status_id").unwrap_or("open")));
    filters
}

/// `cf_1=~part`: the value begins with its operator, and `|` separates values.
fn short(field: &str, text: &str) -> Filter {
    let operator = ["!~", "!*", "!", "~", "*", "="]
        .into_iter()
        .find(|operator| text.starts_with(operator));
    let rest = &text[operator.map_or(0, str::len)..];
    let separator = if field == "issue_id" { ',' } else { '|' };
    Filter {
        field: field.to_owned(),
        operator: operator.unwrap_or("=").to_owned(),
        values: rest.split(separator).map(str::to_owned).collect(),
    }
}

fn status(text: &str) -> Filter {
    let operator = match text {
        "open" | "o" => "o",
        "closed" | "c" => "c",
        "*" => "*",
        _ => "=",
    };
    Filter {
        field: "status_id".to_owned(),
        operator: operator.to_owned(),
        values: vec![text.to_owned()],
    }
}
