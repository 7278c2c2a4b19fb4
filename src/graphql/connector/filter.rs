//! The filter of connectors.

use async_graphql::InputObject;

use super::{ConnectorStatus, ConnectorType};
use crate::connector::Connector;
use crate::db::filter::{Filter, TextOp};
use crate::graphql::comparator::{
    AuthMethodType, AuthMethodTypeComparator, BooleanComparator, IdComparator, StringComparator,
};

/// Filter for connectors. Fields are combined with AND.
#[derive(InputObject, Clone, Debug, Default)]
pub struct PersonalConnectorFilter {
    /// Its id.
    id: Option<IdComparator>,
    /// Who runs it.
    #[graphql(name = "type")]
    connector_type: Option<ConnectorType>,
    /// Whether it is to be used.
    status: Option<ConnectorStatus>,
    /// Its category.
    category: Option<StringComparator>,
    /// Its name.
    name: Option<StringComparator>,
    /// Accepts such an auth method.
    auth_method: Option<AuthMethodTypeComparator>,
    /// Whether new configurations may be created.
    enabled: Option<BooleanComparator>,
    /// Words to find in name and description. All must be found.
    search: Option<String>,
}

/// Whether conditions hold for a value at hand: the catalogue is at hand, most of it in the program.
fn holds<L>(filter: &Filter<L>, is: &dyn Fn(&L) -> bool) -> bool {
    match filter {
        Filter::All(parts) => parts.iter().all(|part| holds(part, is)),
        Filter::Any(parts) => parts.iter().any(|part| holds(part, is)),
        Filter::Not(part) => !holds(part, is),
        Filter::Is(condition) => is(condition),
    }
}

fn text_is(text: &str, op: &TextOp) -> bool {
    match op {
        TextOp::In(values) => values.iter().any(|value| value == text),
        TextOp::EqIgnoreCase(value) => text.to_lowercase() == value.to_lowercase(),
        TextOp::StartsWith(value) => text.starts_with(value),
        TextOp::Contains(value) => text.contains(value),
        TextOp::ContainsIgnoreCase(value) => text.to_lowercase().contains(&value.to_lowercase()),
    }
}

impl PersonalConnectorFilter {
    /// Whether `connector` is one of those that are asked for.
    pub(super) fn lets_through(&self, connector: &Connector) -> bool {
        let all = |conditions: Vec<Filter<TextOp>>, text: &str| {
            conditions.iter().all(|condition| holds(condition, &|op| text_is(text, op)))
        };
        let methods = |condition: &Filter<Vec<AuthMethodType>>| {
            holds(condition, &|methods| {
                connector.auth_methods.iter().any(|guide| methods.contains(&guide.method.into()))
            })
        };
        let words =
            format!("{} {}", connector.name, connector.description.as_deref().unwrap_or_default()).to_lowercase();
        self.id.as_ref().is_none_or(|id| all(id.conditions(TextOp::In), &connector.id))
            && self.connector_type.is_none_or(|wanted| wanted == connector.connector_type.into())
            && self.status.is_none_or(|wanted| wanted == ConnectorStatus::of(connector))
            && self.category.as_ref().is_none_or(|category| all(category.conditions(|op| op), &connector.category))
            && self.name.as_ref().is_none_or(|name| all(name.conditions(|op| op), &connector.name))
            && self.auth_method.as_ref().is_none_or(|method| method.conditions(Filter::Is).iter().all(methods))
            && self.enabled.as_ref().is_none_or(|enabled| {
                let is_enabled = connector.is_enabled();
                enabled.conditions(|| ()).iter().all(|condition| holds(condition, &|()| is_enabled))
            })
            && self
                .search
                .as_ref()
                .is_none_or(|search| search.split_whitespace().all(|word| words.contains(&word.to_lowercase())))
    }
}
