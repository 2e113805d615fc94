//! Rows of nullable columns as Parquet files: flat, snappy-compressed, the same bytes for the same rows.

use ::parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::record::Field;
use ::parquet::schema::types::{ColumnDescPtr, Type};
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

/// Rows held in memory before they are written as one group.
const GROUP: usize = 65_536;

/// What a column holds; any of its values may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// True or false.
    Flag,
    /// Whole numbers (64 bits).
    Whole,
    /// Real numbers (64 bits).
    Real,
    /// UTF-8 text.
    Text,
}

/// A column: a name that says its unit, and a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, such as `ttft_ms`.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
}

impl Column {
    /// A column of that name.
    pub fn new(name: impl Into<String>, kind: ColumnKind) -> Self {
        Self { name: name.into(), kind }
    }
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Absent. So is every value of another kind than its column's.
    Absent,
    /// For [`ColumnKind::Flag`].
    Flag(bool),
    /// For [`ColumnKind::Whole`]; in a real column it is converted.
    Whole(i64),
    /// For [`ColumnKind::Real`].
    Real(f64),
    /// For [`ColumnKind::Text`].
    Text(String),
}

/// Values of one column that wait to be written, without the absent ones, which only leave a level of zero.
enum Values {
    Flag(Vec<bool>),
    Whole(Vec<i64>),
    Real(Vec<f64>),
    Text(Vec<ByteArray>),
}

struct Pending {
    levels: Vec<i16>,
    values: Values,
}

impl Pending {
    fn new(kind: ColumnKind) -> Self {
        let values = match kind {
            ColumnKind::Flag => Values::Flag(Vec::new()),
            ColumnKind::Whole => Values::Whole(Vec::new()),
            ColumnKind::Real => Values::Real(Vec::new()),
            ColumnKind::Text => Values::Text(Vec::new()),
        };
        Self { levels: Vec::new(), values }
    }

    fn push(&mut self, cell: &Cell) {
        match (&mut self.values, cell) {
            (Values::Flag(values), Cell::Flag(value)) => values.push(*value),
            (Values::Whole(values), Cell::Whole(value)) => values.push(*value),
            (Values::Real(values), Cell::Real(value)) => values.push(*value),
            (Values::Real(values), Cell::Whole(value)) => values.push(*value as f64),
            (Values::Text(values), Cell::Text(value)) => values.push(ByteArray::from(value.as_str())),
            _ => return self.levels.push(0),
        }
        self.levels.push(1);
    }

    fn write(&mut self, column: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let levels = Some(self.levels.as_slice());
        match (column, &self.values) {
            (ColumnWriter::BoolColumnWriter(out), Values::Flag(values)) => {
                out.write_batch(values, levels, None)?
            }
            (ColumnWriter::Int64ColumnWriter(out), Values::Whole(values)) => {
                out.write_batch(values, levels, None)?
            }
            (ColumnWriter::DoubleColumnWriter(out), Values::Real(values)) => {
                out.write_batch(values, levels, None)?
            }
            (ColumnWriter::ByteArrayColumnWriter(out), Values::Text(values)) => {
                out.write_batch(values, levels, None)?
            }
            _ => return Err(ParquetError::General("a column changed its kind".to_owned())),
        };
        self.levels.clear();
        match &mut self.values {
            Values::Flag(values) => values.clear(),
            Values::Whole(values) => values.clear(),
            Values::Real(values) => values.clear(),
            Values::Text(values) => values.clear(),
        }
        Ok(())
    }
}

/// Writes rows to a Parquet file. The file is whole only after [`ParquetWriter::finish`].
pub struct ParquetWriter<W: Write + Send> {
    out: SerializedFileWriter<W>,
    pending: Vec<Pending>,
    rows: usize,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// Writes rows of `columns` to `out`.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn new(out: W, columns: &[Column]) -> io::Result<Self> {
        let fields = columns.iter().map(field).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        let schema =
            Type::group_type_builder("rows").with_fields(fields).build().map_err(io::Error::other)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by("supernode".to_owned())
            .build();
        let out = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))
            .map_err(io::Error::other)?;
        Ok(Self { out, pending: columns.iter().map(|column| Pending::new(column.kind)).collect(), rows: 0 })
    }

    /// Adds a row: one value per column, in their order; what is missing at the end is absent.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn push(&mut self, row: &[Cell]) -> io::Result<()> {
        for (index, pending) in self.pending.iter_mut().enumerate() {
            pending.push(row.get(index).unwrap_or(&Cell::Absent));
        }
        self.rows += 1;
        if self.rows == GROUP { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        let mut group = self.out.next_row_group().map_err(io::Error::other)?;
        let mut waiting = self.pending.iter_mut();
        while let Some(mut column) = group.next_column().map_err(io::Error::other)? {
            if let Some(pending) = waiting.next() {
                pending.write(column.untyped()).map_err(io::Error::other)?;
            }
            column.close().map_err(io::Error::other)?;
        }
        group.close().map(drop).map_err(io::Error::other)
    }

    /// Ends the file and gives back what it was written to.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.out.into_inner().map_err(io::Error::other)
    }
}

fn field(column: &Column) -> Result<Arc<Type>, ParquetError> {
    let (physical, logical) = match column.kind {
        ColumnKind::Flag => (Physical::BOOLEAN, None),
        ColumnKind::Whole => (Physical::INT64, None),
        ColumnKind::Real => (Physical::DOUBLE, None),
        ColumnKind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let builder = Type::primitive_type_builder(&column.name, physical);
    builder.with_repetition(Repetition::OPTIONAL).with_logical_type(logical).build().map(Arc::new)
}

/// Hands every row of a file that [`ParquetWriter`] wrote to `each`, in order.
///
/// # Errors
/// The file is no Parquet file or cannot be read, or `each` fails.
pub fn read_parquet(file: File, mut each: impl FnMut(Vec<Cell>) -> io::Result<()>) -> io::Result<()> {
    let reader = SerializedFileReader::new(file).map_err(io::Error::other)?;
    for row in reader.get_row_iter(None).map_err(io::Error::other)? {
        let row = row.map_err(io::Error::other)?;
        each(row.get_column_iter().map(|(_, field)| cell(field)).collect())?;
    }
    Ok(())
}

/// The columns of a file that [`ParquetWriter`] has written.
///
/// # Errors
/// It is no such file.
pub fn parquet_columns(file: &File) -> io::Result<Vec<Column>> {
    let reader = SerializedFileReader::new(file.try_clone()?).map_err(io::Error::other)?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let kind = |column: &ColumnDescPtr| match column.physical_type() {
        Physical::BOOLEAN => Ok(ColumnKind::Flag),
        Physical::INT64 => Ok(ColumnKind::Whole),
        Physical::DOUBLE => Ok(ColumnKind::Real),
        Physical::BYTE_ARRAY => Ok(ColumnKind::Text),
        other => Err(io::Error::other(format!("column `{}` is {other}", column.name()))),
    };
    schema.columns().iter().map(|column| Ok(Column::new(column.name(), kind(column)?))).collect()
}

fn cell(field: &Field) -> Cell {
    match field {
        Field::Bool(value) => Cell::Flag(*value),
        Field::Long(value) => Cell::Whole(*value),
        Field::Double(value) => Cell::Real(*value),
        Field::Str(value) => Cell::Text(value.clone()),
        _ => Cell::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom};

    fn columns() -> Vec<Column> {
        vec![
            Column::new("flag", ColumnKind::Flag),
            Column::new("whole", ColumnKind::Whole),
            Column::new("real", ColumnKind::Real),
            Column::new("text", ColumnKind::Text),
        ]
    }

    fn row(index: usize) -> Vec<Cell> {
        let keep = |every: usize, cell: Cell| if index % every == 0 { cell } else { Cell::Absent };
        vec![
            keep(2, Cell::Flag(index % 4 == 0)),
            keep(3, Cell::Whole(index as i64 - 50)),
            keep(5, Cell::Real(index as f64 / 3.0)),
            keep(7, Cell::Text(format!("Zeile {index} \u{2713}"))),
        ]
    }

    #[track_caller]
    fn check(count: usize) {
        let mut file = tempfile::tempfile().expect("a file");
        let mut writer = ParquetWriter::new(file.try_clone().expect("a handle"), &columns()).expect("opens");
        (0..count).for_each(|index| writer.push(&row(index)).expect("writes"));
        writer.finish().expect("ends").sync_all().expect("syncs");
        file.seek(SeekFrom::Start(0)).expect("seeks");
        let mut found = 0;
        read_parquet(file, |cells| {
            assert_eq!(cells, row(found), "row {found}");
            found += 1;
            Ok(())
        })
        .expect("reads");
        assert_eq!(found, count);
    }

    #[test]
    fn what_is_written_is_read_again() {
        check(0);
        check(1);
        check(1000);
        check(GROUP + 3);
    }

    #[test]
    fn other_kinds_and_short_rows_are_absent() {
        let mut file = tempfile::tempfile().expect("a file");
        let mut writer = ParquetWriter::new(file.try_clone().expect("a handle"), &columns()).expect("opens");
        writer.push(&[Cell::Whole(1), Cell::Text("x".to_owned()), Cell::Whole(2)]).expect("writes");
        writer.finish().expect("ends");
        file.seek(SeekFrom::Start(0)).expect("seeks");
        let mut rows = Vec::new();
        read_parquet(file, |cells| {
            rows.push(cells);
            Ok(())
        })
        .expect("reads");
        assert_eq!(rows, [[Cell::Absent, Cell::Absent, Cell::Real(2.0), Cell::Absent]]);
    }
}
