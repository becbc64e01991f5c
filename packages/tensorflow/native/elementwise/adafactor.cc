// Adafactor's update, as packages/trainer/src/other-optimizers.ts describes it. Sums are in double and their parts do
// not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <vector>

#include "elementwise/updated-value.h"
#include "runtime/operation.h"
#include "runtime/parallel.h"
#include "runtime/vector-math.h"

namespace wpo {
namespace {

constexpr float kSquareEpsilon = 1e-30f;

// Sums of x² + ε over each row, and over these rows for each column.
WPO_TARGET_CLONES void square_sums(int64_t rows, int64_t width, float scale, const float* g, double* row_sums,
                                   double* column_sums) {
  for (int64_t i = 0; i < rows; i++) {
    const float* gi = g + i * width;
    row_sums[i] = sum_of(0, width, [=](int64_t j) WPO_INLINE_LAMBDA {
      const float x = gi[j] * scale;
      return x * x + kSquareEpsilon;
    });
    for (int64_t j = 0; j < width; j++) {
      const float x = gi[j] * scale;
      column_sums[j] += x * x + kSquareEpsilon;
    }
  }
}

// u = x r c; r is one factor for each row.
WPO_TARGET_CLONES double update_squares(int64_t rows, int64_t width, float scale, const float* g, const float* r,
                                        const float* c) {
  double sum = 0;
  for (int64_t i = 0; i < rows; i++) {
    const float *gi = g + i * width, factor = r[i];
    sum += sum_of(0, width, [=](int64_t j) WPO_INLINE_LAMBDA {
      const float u = gi[j] * scale * factor * c[j];
      return u * u;
    });
  }
  return sum;
}

// Changes n values of a row, whose factor is `factor`.
WPO_TARGET_CLONES void change_row(int64_t n, const AdafactorParams a, float rate, float factor, float* p,
                                  const float* g, const float* c) {
  for (int64_t j = 0; j < n; j++) p[j] = p[j] * a.decay_factor - g[j] * a.scale * factor * c[j] * rate;
}

// Moves the average of squares towards `now`, and returns it.
float average(const AdafactorParams& a, float& average, double now) {
  return average = average * a.beta2 + a.one_minus_beta2 * static_cast<float>(now);
}

constexpr int64_t kRows = 64;  // of a part

// One matrix [rows, width], whose values are those of `value` from `first` on; row_squares [rows] and column_squares
// [width] are changed. Parts of the sums over all of the parameter's matrices go to `squares`.
struct Matrix {
  int64_t rows, width;
  UpdatedValue value;
  int64_t first;
  float *row_squares, *column_squares;
  const float* g;
  std::vector<float> r = {}, c = {};

  int64_t parts() const { return (rows + kRows - 1) / kRows; }
  int64_t rows_of(int64_t part) const { return std::min(kRows, rows - part * kRows); }

  void update_averages(const AdafactorParams& a) {
    const size_t columns = static_cast<size_t>(width);
    std::vector<double> row_sums(static_cast<size_t>(rows)), column_sums(static_cast<size_t>(parts()) * columns);
    parallel(parts(), 2 * kRows * width, [&](int64_t begin, int64_t end, int) {
      for (int64_t part = begin; part < end; part++)
        square_sums(rows_of(part), width, a.scale, g + part * kRows * width, row_sums.data() + part * kRows,
                    column_sums.data() + part * width);
    });
    r.resize(static_cast<size_t>(rows));
    c.resize(columns);
    double sum = 0;
    for (size_t i = 0; i < r.size(); i++) sum += average(a, row_squares[i], row_sums[i] / static_cast<double>(width));
    const double mean = sum / static_cast<double>(rows);
    for (size_t i = 0; i < r.size(); i++) r[i] = static_cast<float>(1 / std::sqrt(row_squares[i] / mean));
    for (size_t j = 0; j < columns; j++) {
      double of_column = 0;
      for (size_t part = 0; part < static_cast<size_t>(parts()); part++) of_column += column_sums[part * columns + j];
      c[j] = 1 / std::sqrt(average(a, column_squares[j], of_column / static_cast<double>(rows)));
    }
  }
  double squares(const AdafactorParams& a) const {
    std::vector<double> sums(static_cast<size_t>(parts()));
    double* of_part = sums.data();
    parallel(parts(), kRows * width, [&](int64_t begin, int64_t end, int) {
      for (int64_t part = begin; part < end; part++)
        of_part[part] =
            update_squares(rows_of(part), width, a.scale, g + part * kRows * width, r.data() + part * kRows, c.data());
    });
    double sum = 0;
    for (const double part : sums) sum += part;
    return sum;
  }
  void change(const AdafactorParams& a, float rate) const {
    parallel(parts(), 2 * kRows * width, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin * kRows; row < std::min(end * kRows, rows); row++) {
        const int64_t start = first + row * width;
        update_values(value, start, start + width, [&](float* p, int64_t at, int64_t n) {
          change_row(n, a, rate, r[static_cast<size_t>(row)], p, g + at - first, c.data() + at - start);
        });
      }
    });
  }
};

// The learning rate, divided by the root mean square of the update where this is above 1
float clipped_rate(const AdafactorParams& a, double squares, int64_t size) {
  return static_cast<float>(a.learning_rate / std::max(1.0, std::sqrt(squares / static_cast<double>(size))));
}

// The inputs of updates.h: [scale, β₂, 1 − β₂, learning rate, 1 − lr λ], then p [..., n, m], averages of its rows
// [..., n] and columns [..., m], g -> done []
void adafactor(OpContext& ctx) {
  const AdafactorParams params = read_adafactor(ctx);
  const Updates updates = adafactor_updates(ctx);
  for (int i = 0; i < updates.size(); i++) {
    const int64_t size = updates.count(i);
    if (size == 0) continue;
    const Shape& shape = updates.shape(i);
    const int64_t width = shape.back(), rows = shape[shape.size() - 2];
    const UpdatedValue value = updates.value(i);
    std::vector<Matrix> matrices;
    for (int64_t k = 0; k < size / (rows * width); k++)
      matrices.push_back({rows, width, value, k * rows * width, updates.state(i, 0) + k * rows,
                          updates.state(i, 1) + k * width, updates.gradient(i) + k * rows * width});
    double squares = 0;
    for (Matrix& matrix : matrices) {
      matrix.update_averages(params);
      squares += matrix.squares(params);
    }
    for (const Matrix& matrix : matrices) matrix.change(params, clipped_rate(params, squares, size));
  }
  *ctx.output_done() = 0;
}

// The same scalars, then of each vector p, v, g -> done []
void adafactor_vector(OpContext& ctx) {
  const AdafactorParams params = read_adafactor(ctx);
  const Updates updates = adafactor_vector_updates(ctx);
  for (int i = 0; i < updates.size(); i++) {
    float* v = updates.state(i, 0);
    const float* g = updates.gradient(i);
    const int64_t size = updates.count(i);
    double squares = 0;
    for (int64_t j = 0; j < size; j++) {
      const float x = g[j] * params.scale, u = x / std::sqrt(average(params, v[j], x * x + kSquareEpsilon));
      squares += u * u;
    }
    const float rate = clipped_rate(params, squares, size);
    update_values(updates.value(i), 0, size, [&](float* p, int64_t at, int64_t n) {
      for (int64_t j = 0; j < n; j++)
        p[j] = p[j] * params.decay_factor - g[at + j] * params.scale / std::sqrt(v[at + j]) * rate;
    });
  }
  *ctx.output_done() = 0;
}

}  // namespace

void register_adafactor() {
  register_kernel<adafactor>("WpoAdafactor");
  register_kernel<adafactor_vector>("WpoAdafactorVector");
}

}  // namespace wpo
