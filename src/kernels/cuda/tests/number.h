// A number of the f64 reference with the size of what it was summed from. Must not know kernels.
//
// What f32 arithmetic may get wrong follows from the terms of a sum: where they cancel, the sum is
// small and its error is not. So each operation also computes its result with the absolute values
// of all terms, and results are compared against that size.
#pragma once
#include <algorithm>
#include <cmath>

struct Number {
    double value, terms;

    Number(double v = 0) : value(v), terms(std::abs(v)) {}
    Number(double v, double t) : value(v), terms(t) {}
    Number operator-() const { return {-value, terms}; }
    Number& operator+=(const Number& o) {
        value += o.value, terms += o.terms;
        return *this;
    }
    Number& operator-=(const Number& o) {
        value -= o.value, terms += o.terms;
        return *this;
    }
};

inline Number operator+(Number a, const Number& b) { return a += b; }
inline Number operator-(Number a, const Number& b) { return a -= b; }
inline Number operator*(const Number& a, const Number& b) {
    return {a.value * b.value, a.terms * b.terms};
}
inline Number operator/(const Number& a, const Number& b) {
    return {a.value / b.value, a.terms * b.terms / (b.value * b.value)};
}
inline bool operator<(const Number& a, const Number& b) { return a.value < b.value; }
inline bool operator>(const Number& a, const Number& b) { return a.value > b.value; }

inline Number sqrt(const Number& a) {
    const double root = std::sqrt(a.value);
    return {root, root + a.terms / (2 * root)};
}
inline Number exp(const Number& a) {
    const double e = std::exp(a.value);
    return {e, e * (1 + a.terms)};
}
inline Number log(const Number& a) {
    const double l = std::log(a.value);
    return {l, std::abs(l) + a.terms / a.value};
}
