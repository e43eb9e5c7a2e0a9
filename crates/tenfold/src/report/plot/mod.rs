//! Plots as inline SVG: each has a title, a view box, and colours that the style sheet turns for dark mode.

mod axis;
mod curves;
mod label;
mod latency;
mod scatter;
mod sheet;

pub(super) use curves::{
    learning_curves, load_curves, loss_curves, memory_curves, search_curves, small_data_curves, speed_curves,
};
pub(super) use latency::latency;
pub(super) use scatter::{accuracy_against_memory, accuracy_against_parameters};

use maud::PreEscaped;

/// A finished drawing; `None` where there is nothing to draw.
pub(super) type Drawing = Option<PreEscaped<String>>;

/// What the colours of the plots become in dark mode: drawn, in the dark.
pub(super) const DARK: [(&str, &str); 12] = [
    ("#0072B2", "#5AB0F0"),
    ("#D55E00", "#FF8A4D"),
    ("#009E73", "#2BCB9C"),
    ("#B0508A", "#F09BCB"),
    ("#A87400", "#F0B840"),
    ("#3A9AD9", "#A5D8FF"),
    ("#5B5B5B", "#C8C8C8"),
    ("#882255", "#E086B4"),
    // Text, quiet text, grid, background.
    ("#1B1F24", "#E8EAED"),
    ("#57606A", "#A8B0B8"),
    ("#DCE0E4", "#343A41"),
    ("#FFFFFF", "#15181C"),
];
