//! Plots of costs: of lists by the number of loaded payloads, of uploads by their size.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::contender::Kind;
use super::record::{Record, Run};
use super::step::Work;

/// A plot.
struct Picture {
    file: &'static str,
    /// The work of all contenders, and another of this crate's.
    work: Work,
    beside: Work,
    axis: &'static str,
    /// The position of a cost on that axis.
    at: fn(&Record) -> f64,
}

const PICTURES: [Picture; 2] = [
    Picture {
        file: "lists.svg",
        work: Work::List,
        beside: Work::Status,
        axis: "payloads loaded",
        at: |record| record.step.payloads as f64,
    },
    Picture {
        file: "uploads.svg",
        work: Work::UploadFromFile,
        beside: Work::Check,
        axis: "size in KiB",
        at: |record| record.step.size as f64 / 1024.0,
    },
];

const SIZE: (u32, u32) = (480, 400);

/// The positions on the axis, and the costs in thousands.
fn points(run: &Run, work: Work, kind: Kind, picture: &Picture) -> Vec<(f64, f64)> {
    let records = run.records.iter().filter(|record| record.step.work == work && record.contender == kind);
    let points = records.map(|record| ((picture.at)(record), record.costs.median as f64 / 1000.0));
    points.filter(|(at, _)| *at > 0.0).collect()
}

/// Draws all pictures into a directory, with a panel for each run.
pub fn draw(runs: &[Run], to: &Path) -> Result<(), Box<dyn Error>> {
    for picture in &PICTURES {
        let path = to.join(picture.file);
        let size = (SIZE.0 * u32::try_from(runs.len())?, SIZE.1);
        let area = SVGBackend::new(&path, size).into_drawing_area();
        area.fill(&WHITE)?;
        for (run, panel) in runs.iter().zip(area.split_evenly((1, runs.len()))) {
            draw_run(run, picture, &panel)?;
        }
        area.present()?;
        println!("{}", path.display());
    }
    Ok(())
}

fn draw_run(run: &Run, picture: &Picture, panel: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Box<dyn Error>> {
    let lines = [
        (picture.work, Kind::Libxenctrl, RGBColor(213, 94, 0)),
        (picture.work, Kind::Ours, RGBColor(0, 114, 178)),
        (picture.work, Kind::Raw, RGBColor(120, 120, 120)),
        (picture.beside, Kind::Ours, RGBColor(0, 158, 115)),
    ];
    let lines = lines.map(|(work, kind, colour)| (work, kind, colour, points(run, work, kind, picture)));
    let all = || lines.iter().flat_map(|(.., points)| points.iter().copied());
    let ends = |values: &dyn Fn((f64, f64)) -> f64| {
        let (least, most) = all().map(values).fold((f64::MAX, 0.0_f64), |(a, b), value| (a.min(value), b.max(value)));
        least * 0.8..most * 1.25
    };
    let mut chart = ChartBuilder::on(panel)
        .caption(format!("Xen {}", run.xen()), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(ends(&|(at, _)| at).log_scale(), ends(&|(_, time)| time).log_scale())?;
    let number = |number: &f64| format!("{number:.0}");
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(picture.axis)
        .y_desc("thousand instructions")
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .draw()?;
    for (work, kind, colour, points) in lines {
        let dots = points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
        chart.draw_series(dots)?;
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(format!("{}, {}", work.name(), kind.name()))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    Ok(())
}
