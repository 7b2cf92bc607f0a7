#ifndef CLINUX_KVM_H
#define CLINUX_KVM_H
#include <linux/kvm.h>
#endif
