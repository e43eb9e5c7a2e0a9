//! The paper that plots are drawn on: axes, lines, bands, markers and text in the values' own units.

use super::Drawing;
use super::axis::Axis;
use maud::{PreEscaped, html};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Backend pixels to one unit of the view: plotters draws on whole pixels, so these are small.
pub(super) const SCALE: i32 = 8;
/// Width of every plot; narrow, so that text is still of reading size on a phone.
pub(super) const WIDTH: i32 = 440;
/// Size of text.
pub(super) const TEXT: f64 = 14.5;

pub(super) const INK: RGBColor = RGBColor(0x1B, 0x1F, 0x24);
pub(super) const QUIET: RGBColor = RGBColor(0x57, 0x60, 0x6A);
const GRID: RGBColor = RGBColor(0xDC, 0xE0, 0xE4);
pub(super) const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
/// Told apart with the common kinds of colour blindness (after Okabe and Ito, darkened for white paper).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xB0, 0x50, 0x8A),
    RGBColor(0xA8, 0x74, 0x00),
    RGBColor(0x3A, 0x9A, 0xD9),
    RGBColor(0x5B, 0x5B, 0x5B),
    RGBColor(0x88, 0x22, 0x55),
];

type Root<'b> = DrawingArea<SVGBackend<'b>, Shift>;
type Coord = Cartesian2d<RangedCoordf64, RangedCoordf64>;
/// Whether drawing worked; into a string it always does.
pub(super) type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A sheet in the making; points are in backend pixels, values in the units of the axes.
pub(super) struct Sheet<'s, 'b> {
    root: &'s Root<'b>,
    chart: ChartContext<'s, SVGBackend<'b>, Coord>,
    x: &'s Axis,
    y: &'s Axis,
}

/// Room around the plotting area, in units of the view.
pub(super) struct Room {
    pub(super) height: i32,
    pub(super) left: i32,
    pub(super) right: i32,
}

/// A method's colour and marker.
#[derive(Clone, Copy)]
pub(super) struct Series(pub(super) usize);

impl Series {
    pub(super) fn colour(self) -> RGBColor {
        COLOURS[self.0 % COLOURS.len()]
    }
}

/// Draws axes and grid, then what `body` adds.
pub(super) fn draw(
    title: &str,
    room: Room,
    x: &Axis,
    y: &Axis,
    body: impl for<'s, 'b> FnOnce(&Sheet<'s, 'b>) -> Drawn,
) -> Drawing {
    let mut svg = String::new();
    let size = ((WIDTH * SCALE) as u32, (room.height * SCALE) as u32);
    try_draw(&mut svg, size, room, x, y, body).ok()?;
    let inner = svg.split_once('>')?.1;
    Some(html! {
        svg class="plot" role="img" aria-label=(title) viewBox=(format!("0 0 {} {}", size.0, size.1)) {
            title { (title) }
            (PreEscaped(inner.strip_suffix("</svg>\n").unwrap_or(inner)))
        }
    })
}

fn try_draw(
    svg: &mut String,
    size: (u32, u32),
    room: Room,
    x: &Axis,
    y: &Axis,
    body: impl for<'s, 'b> FnOnce(&Sheet<'s, 'b>) -> Drawn,
) -> Drawn {
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    let chart = ChartBuilder::on(&root)
        .margin_top(28 * SCALE)
        .margin_right(room.right * SCALE)
        .x_label_area_size(48 * SCALE)
        .y_label_area_size(room.left * SCALE)
        .build_cartesian_2d(x.range(), y.range())?;
    let sheet = Sheet { root: &root, chart, x, y };
    sheet.axes()?;
    body(&sheet)?;
    root.present()?;
    Ok(())
}

impl<'s, 'b> Sheet<'s, 'b> {
    /// Where a pair of values stands.
    pub(super) fn at(&self, x: f64, y: f64) -> (i32, i32) {
        self.chart.backend_coord(&(self.x.place(x), self.y.place(y)))
    }

    /// The plotting area: left, top, right, bottom.
    pub(super) fn frame(&self) -> (i32, i32, i32, i32) {
        let (x, y) = self.chart.plotting_area().get_pixel_range();
        (x.start, y.start, x.end, y.end)
    }

    /// A line through points.
    pub(super) fn line(&self, points: Vec<(i32, i32)>, colour: RGBColor, width: f64) -> Drawn {
        let style = colour.stroke_width((width * f64::from(SCALE)) as u32);
        Ok(self.root.draw(&PathElement::new(points, style))?)
    }

    /// A filled shape, more or less transparent.
    pub(super) fn area(&self, points: Vec<(i32, i32)>, colour: RGBColor, opacity: f64) -> Drawn {
        Ok(self.root.draw(&Polygon::new(points, colour.mix(opacity).filled()))?)
    }

    /// A method's marker on a ring of paper, so that neighbours stay apart.
    pub(super) fn marker(&self, point: (i32, i32), series: Series, size: f64) -> Drawn {
        let outline = |size: f64| {
            let corner = |(x, y): &(f64, f64)| {
                let move_by = |v: f64| (v * size * f64::from(SCALE)).round() as i32;
                (point.0 + move_by(*x), point.1 + move_by(*y))
            };
            shape(series.0).iter().map(corner).collect::<Vec<_>>()
        };
        self.area(outline(size * 1.35), PAPER, 1.0)?;
        self.area(outline(size), series.colour(), 1.0)
    }

    /// Text at a point.
    pub(super) fn text(&self, text: &str, point: (i32, i32), colour: RGBColor, at: (HPos, VPos)) -> Drawn {
        // plotters writes size / 1.24 into the SVG.
        let size = TEXT * 1.24 * f64::from(SCALE);
        let style = ("sans-serif", size).into_text_style(self.root).color(&colour).pos(Pos::new(at.0, at.1));
        Ok(self.root.draw(&Text::new(text.to_owned(), point, style))?)
    }

    /// A bar from low to high with feet, upright or lying.
    pub(super) fn bar(&self, low: (i32, i32), high: (i32, i32), colour: RGBColor) -> Drawn {
        let foot = 3 * SCALE;
        let upright = low.0 == high.0;
        self.line(vec![low, high], colour, 1.5)?;
        for end in [low, high] {
            let (dx, dy) = if upright { (foot, 0) } else { (0, foot) };
            self.line(vec![(end.0 - dx, end.1 - dy), (end.0 + dx, end.1 + dy)], colour, 1.5)?;
        }
        Ok(())
    }

    fn axes(&self) -> Drawn {
        let (left, top, right, bottom) = self.frame();
        let gap = 6 * SCALE;
        for (place, text) in self.x.ticks() {
            let (x, _) = self.chart.backend_coord(&(place, self.y.range().start));
            self.line(vec![(x, top), (x, bottom)], GRID, 1.0)?;
            self.text(text, (x, bottom + gap), QUIET, (HPos::Center, VPos::Top))?;
        }
        for (place, text) in self.y.ticks() {
            let (_, y) = self.chart.backend_coord(&(self.x.range().start, place));
            self.line(vec![(left, y), (right, y)], GRID, 1.0)?;
            self.text(text, (left - gap, y), QUIET, (HPos::Right, VPos::Center))?;
        }
        self.line(vec![(left, bottom), (right, bottom)], QUIET, 1.0)?;
        self.text(&self.y.label, (2 * SCALE, 4 * SCALE), INK, (HPos::Left, VPos::Top))?;
        let middle = (left + right) / 2;
        self.text(&self.x.label, (middle, bottom + 27 * SCALE), INK, (HPos::Center, VPos::Top))
    }
}

/// Corners of a marker of radius one. Eight shapes; the second eight methods meet the colours in
/// another order, so that no two methods share both.
fn shape(series: usize) -> Vec<(f64, f64)> {
    let ring = |corners: usize, turn: f64, inner: f64| -> Vec<(f64, f64)> {
        let angle = |k: usize| std::f64::consts::TAU * (k as f64 / corners as f64 + turn);
        let radius = |k: usize| if k % 2 == 1 { inner } else { 1.15 };
        (0..corners).map(|k| (radius(k) * angle(k).sin(), -radius(k) * angle(k).cos())).collect()
    };
    match (series + series / COLOURS.len()) % 8 {
        0 => ring(24, 0.0, 1.15),
        1 => vec![(-0.95, -0.95), (0.95, -0.95), (0.95, 0.95), (-0.95, 0.95)],
        2 => vec![(0.0, -1.25), (1.15, 0.85), (-1.15, 0.85)],
        3 => vec![(0.0, -1.35), (1.35, 0.0), (0.0, 1.35), (-1.35, 0.0)],
        4 => vec![(0.0, 1.25), (1.15, -0.85), (-1.15, -0.85)],
        5 => ring(10, 0.0, 0.55),
        6 => {
            let (a, b) = (0.42, 1.2);
            let quarter = [
                (-a, -b),
                (a, -b),
                (a, -a),
                (b, -a),
                (b, a),
                (a, a),
                (a, b),
                (-a, b),
                (-a, a),
                (-b, a),
                (-b, -a),
                (-a, -a),
            ];
            quarter.to_vec()
        }
        _ => ring(8, 0.0, 0.5),
    }
}
