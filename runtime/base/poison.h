/* runtime/base/poison.h - calls that this project does not use, refused by the compiler. Included by the Makefile in
 * front of every C file; the system headers come first because they may declare what is poisoned below. */
#ifndef QMT_BASE_POISON_H
#define QMT_BASE_POISON_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#pragma GCC poison sprintf vsprintf strcpy strcat atoi atol atof strtok gets

#endif
