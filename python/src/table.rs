//! Columns in memory that other libraries read without a copy, through the Arrow PyCapsule interface.

use arrow_array::builder::{
    BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, StringDictionaryBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, to_ffi};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::{Float64Type, Int8Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchIterator, StringArray, StructArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use pyo3::exceptions::{PyKeyError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList};
use report::{Cell, ColumnKind};
use std::collections::HashMap;
use std::sync::Arc;

/// Units by the end of a column's name, the longest first.
const UNITS: [(&str, &str); 14] = [
    ("_tokens_g", "gCO2e"),
    ("tokens_per_s_per_chip", "tokens/s/chip"),
    ("tokens_per_s", "tokens/s"),
    ("tflops_per_chip", "TFLOP/s/chip"),
    ("_per_s", "1/s"),
    ("_per_chip_low", "tokens/s/chip"),
    ("_per_chip_high", "tokens/s/chip"),
    ("_ms", "ms"),
    ("_usd", "USD"),
    ("_tokens", "tokens"),
    ("_bytes", "B"),
    ("_s", "s"),
    ("_j", "J"),
    ("_w", "W"),
];

/// The unit that a column's name says.
fn unit(name: &str) -> Option<&'static str> {
    UNITS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, unit)| *unit)
}

/// A column that grows.
enum Growing {
    Flag(BooleanBuilder),
    Whole(Int64Builder),
    Real(Float64Builder),
    Text(StringBuilder),
    /// Few different texts.
    Name(StringDictionaryBuilder<Int8Type>),
}

/// Columns that grow row by row.
pub struct Columns {
    fields: Vec<Field>,
    growing: Vec<Growing>,
}

impl Columns {
    /// Columns by name and kind; a text of `names` has few different values.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, ColumnKind)>, names: &[&str]) -> Self {
        let (mut fields, mut growing) = (Vec::new(), Vec::new());
        for (name, kind) in columns {
            let (of, column) = match kind {
                ColumnKind::Flag => (DataType::Boolean, Growing::Flag(BooleanBuilder::new())),
                ColumnKind::Whole => (DataType::Int64, Growing::Whole(Int64Builder::new())),
                ColumnKind::Real => (DataType::Float64, Growing::Real(Float64Builder::new())),
                ColumnKind::Text if names.contains(&name) => (
                    DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
                    Growing::Name(StringDictionaryBuilder::new()),
                ),
                ColumnKind::Text => (DataType::Utf8, Growing::Text(StringBuilder::new())),
            };
            let unit = unit(name).map(|unit| ("unit".to_owned(), unit.to_owned()));
            fields.push(Field::new(name, of, true).with_metadata(HashMap::from_iter(unit)));
            growing.push(column);
        }
        Self { fields, growing }
    }

    /// Adds a row, a value for each column.
    pub fn push(&mut self, row: &[Cell]) {
        for (column, cell) in self.growing.iter_mut().zip(row) {
            match (column, cell) {
                (Growing::Flag(column), Cell::Flag(value)) => column.append_value(*value),
                (Growing::Flag(column), _) => column.append_null(),
                (Growing::Whole(column), Cell::Whole(value)) => column.append_value(*value),
                (Growing::Whole(column), _) => column.append_null(),
                (Growing::Real(column), Cell::Real(value)) => column.append_value(*value),
                (Growing::Real(column), Cell::Whole(value)) => column.append_value(*value as f64),
                (Growing::Real(column), _) => column.append_null(),
                (Growing::Text(column), Cell::Text(value)) => column.append_value(value),
                (Growing::Text(column), _) => column.append_null(),
                (Growing::Name(column), Cell::Text(value)) => column.append_value(value),
                (Growing::Name(column), _) => column.append_null(),
            }
        }
    }

    /// The table, whose buffers are those of the columns.
    ///
    /// # Errors
    /// Columns of different lengths, which rows of one length cannot make.
    pub fn finish(mut self) -> Result<Table, ArrowError> {
        let arrays = self.growing.iter_mut().map(|column| -> ArrayRef {
            match column {
                Growing::Flag(column) => Arc::new(column.finish()),
                Growing::Whole(column) => Arc::new(column.finish()),
                Growing::Real(column) => Arc::new(column.finish()),
                Growing::Text(column) => Arc::new(column.finish()),
                Growing::Name(column) => Arc::new(column.finish()),
            }
        });
        let arrays = arrays.collect();
        let schema = Schema::new(std::mem::take(&mut self.fields));
        Ok(Table { batch: RecordBatch::try_new(Arc::new(schema), arrays)? })
    }
}

/// Rows in columns. pandas, polars, duckdb and pyarrow read it as it is; each column's unit is its field's metadata.
#[pyclass(frozen, module = "supernode")]
pub struct Table {
    batch: RecordBatch,
}

fn failed(error: ArrowError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

impl Table {
    fn array(&self, name: &str) -> PyResult<&ArrayRef> {
        let names = || self.column_names().join(", ");
        let found = self.batch.column_by_name(name);
        found
            .ok_or_else(|| PyKeyError::new_err(format!("there is no column `{name}`; there are {}", names())))
    }
}

#[pymethods]
impl Table {
    /// The schema, as the Arrow C data interface has it.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.batch.schema_ref().as_ref()).map_err(failed)?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }

    /// Schema and rows as one array. A wish for another schema is left to the reader, which casts.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        drop(requested_schema);
        let whole = StructArray::from(self.batch.clone());
        let (array, _): (FFI_ArrowArray, _) = to_ffi(&whole.to_data()).map_err(failed)?;
        Ok((self.__arrow_c_schema__(py)?, PyCapsule::new_with_value(py, array, c"arrow_array")?))
    }

    /// The rows as a stream of one batch.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        drop(requested_schema);
        let batches = RecordBatchIterator::new([Ok(self.batch.clone())], self.batch.schema());
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(batches)), c"arrow_array_stream")
    }

    fn __len__(&self) -> usize {
        self.batch.num_rows()
    }

    /// Names of the columns.
    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// Units of the columns that have one.
    #[getter]
    fn units(&self) -> HashMap<String, String> {
        let fields = self.batch.schema_ref().fields().iter();
        let unit = |field: &Arc<Field>| Some((field.name().clone(), field.metadata().get("unit")?.clone()));
        fields.filter_map(unit).collect()
    }

    /// The values of a column, as Python's.
    fn __getitem__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyList>> {
        let array = self.array(name)?;
        match array.data_type() {
            DataType::Boolean => PyList::new(py, array.as_boolean().iter()),
            DataType::Int64 => PyList::new(py, array.as_primitive::<Int64Type>().iter()),
            DataType::Float64 => PyList::new(py, array.as_primitive::<Float64Type>().iter()),
            DataType::Utf8 => PyList::new(py, array.as_string::<i32>().iter()),
            _ => {
                let texts = array.as_dictionary::<Int8Type>();
                let texts = texts.downcast_dict::<StringArray>().ok_or_else(|| crate::errors::gone(name))?;
                PyList::new(py, texts)
            }
        }
    }

    fn __repr__(&self) -> String {
        format!("<supernode.Table of {} rows: {}>", self.batch.num_rows(), self.column_names().join(", "))
    }
}
