//! Which operation a request's method, path and query ask for.

use crate::model::lambda;
use crate::operation::Route;
use http::{Method, Uri};
use percent_encoding::percent_decode_str;

/// The labels of a matched path in their order, percent-decoded once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<(&'static str, String)>);

impl Labels {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str())
    }
}

/// The operation that AWS has at this place, also when it has no type here. A slash at the path's end is ignored.
pub fn find(method: &Method, uri: &Uri) -> Option<(&'static Route, Labels)> {
    let path = uri.path();
    let path = path.strip_suffix('/').unwrap_or(path);
    let query = uri.query().unwrap_or_default();
    let fits = |route: &&&'static Route| {
        route.method == *method && has_path(path, route.path) && has_pairs(query, route.query)
    };
    // Where two share a path, the one that asks for more of the query is meant.
    let route = lambda::ROUTES.iter().filter(fits).max_by_key(|route| route.query.len())?;
    let labels = route.path.split('/').zip(path.split('/'));
    let labels = labels.filter_map(|(wanted, given)| Some((label(wanted)?, decoded(given)))).collect();
    Some((route, Labels(labels)))
}

/// The name of a segment that is a label.
fn label(segment: &'static str) -> Option<&'static str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn has_path(path: &str, wanted: &'static str) -> bool {
    let (mut wanted, mut given) = (wanted.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given || label(wanted).is_some() => {}
            _ => return false,
        }
    }
}

fn has_pairs(query: &str, wanted: &[(&str, &str)]) -> bool {
    wanted.iter().all(|(key, value)| {
        query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .any(|given| given.0 == *key && (value.is_empty() || given.1 == *value))
    })
}

fn decoded(raw: &str) -> String {
    percent_decode_str(raw).decode_utf8_lossy().into_owned()
}
