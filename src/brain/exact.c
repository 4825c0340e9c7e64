#include "brain/exact.h"

#include <stdint.h>
#include <string.h>

/* ln 2 in two parts, of which the first has 21 zero bits at its end: k × it is exact. */
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define LN2_INVERSE 1.44269504088896338700
#define SQRT2 1.41421356237309504880
#define EXP_TERMS 14
#define LOG_TERMS 11

static double of_bits(uint64_t bits)
{
	double d;

	memcpy(&d, &bits, sizeof(d));
	return d;
}

/* e^x = 2^k · e^r with |r| at most half of ln 2: the Taylor series of e^r by Horner's rule. */
double exact_exp(double x)
{
	if (!(x == x))
		return x;
	if (x > 709)
		return __builtin_inf();
	if (x < -708)
		return 0;
	const int k = (int)(x * LN2_INVERSE + (x < 0 ? -0.5 : 0.5));
	const double r = (x - k * LN2_HIGH) - k * LN2_LOW;
	double sum = 1;
	for (int i = EXP_TERMS; i > 0; i--)
		sum = 1 + sum * r / i;
	return sum * of_bits((uint64_t)(1023 + k) << 52);
}

/* x = 2^k · m with m around 1: ln m = 2 · (s + s³/3 + s⁵/5 + …) with s = (m − 1) ÷ (m + 1). */
double exact_log(double x)
{
	uint64_t bits;

	memcpy(&bits, &x, sizeof(bits));
	const int exponent = (int)(bits >> 52);
	if (exponent <= 0 || exponent >= 2047)
		return __builtin_nan("");
	int k = exponent - 1023;
	double m = of_bits((bits & ((1ull << 52) - 1)) | 1023ull << 52);
	if (m > SQRT2) {
		m /= 2;
		k++;
	}
	const double s = (m - 1) / (m + 1), square = s * s;
	double sum = 0;
	for (int i = LOG_TERMS; i >= 0; i--)
		sum = sum * square + 1.0 / (2 * i + 1);
	return k * LN2_HIGH + (2 * s * sum + k * LN2_LOW);
}
