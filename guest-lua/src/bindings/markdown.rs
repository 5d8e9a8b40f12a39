//! `markdown.to_html`: CommonMark with tables, strikethrough, task lists and footnotes.

use crate::call::{Call, Error, Returned, library};
use crate::computing;
use crate::host::types::ErrorCode;
use crate::lua::Lua;
use crate::work::{CALL, spend};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, html};

/// Bytes of one text: the parser finds its blocks in one go.
const MAX_SOURCE: usize = 512 << 10;

pub fn register(lua: Lua) {
    library(lua, "markdown", &[("to_html", computing!(to_html, 2))]);
}

fn to_html(call: Call) -> Returned {
    let source = call.str(1)?;
    let safe = match call.opt_options(2, &["safe"])? {
        Some(options) => options.boolean("safe")?.unwrap_or(false),
        None => false,
    };
    if source.len() > MAX_SOURCE {
        let why = format!(
            "the text has {} bytes, {MAX_SOURCE} are allowed; convert its chapters one by one",
            source.len()
        );
        return Err(Error::failed(ErrorCode::Limit, format!("markdown.to_html: {why}")));
    }
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES;
    let events = Parser::new_ext(source, options).inspect(|_| spend(CALL));
    let mut out = String::with_capacity(source.len() * 3 / 2);
    if safe {
        html::push_html(&mut out, events.filter_map(without_active_content));
    } else {
        html::push_html(&mut out, events);
    }
    call.lua().push_str(&out);
    Ok(1)
}

/// Drops raw HTML, and the targets of links and images that are not plain addresses.
fn without_active_content(event: Event<'_>) -> Option<Event<'_>> {
    match event {
        Event::Html(_) | Event::InlineHtml(_) => None,
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let dest_url = safe_address(dest_url);
            Some(Event::Start(Tag::Link { link_type, dest_url, title, id }))
        }
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            let dest_url = safe_address(dest_url);
            Some(Event::Start(Tag::Image { link_type, dest_url, title, id }))
        }
        event => Some(event),
    }
}

/// The address, or nothing where its scheme may run code. A browser passes over control characters
/// and blanks in front of and within a scheme, so they do not count here either.
fn safe_address(address: CowStr<'_>) -> CowStr<'_> {
    let start = address.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((scheme, _)) = start.split_once(':') else {
        return address;
    };
    let scheme: String = scheme.chars().filter(|c| !c.is_control() && !c.is_whitespace()).collect();
    let allowed = ["http", "https", "mailto", "tel", "ftp", "xmpp", "irc"];
    if allowed.iter().any(|name| scheme.eq_ignore_ascii_case(name)) { address } else { "".into() }
}
