extension CPUExtraState {
    mutating func transferHyperV(_ coder: inout StateCoder) throws(StateError) {
        let hasHypercall = hyperV.hypercall != 0 || hyperV.guestOSID != 0
        try coder.subsection("cpu/msr_hyperv_hypercall", isNeeded: hasHypercall) { coder throws(StateError) in
            try coder.field("env.msr_hv_guest_os_id", &hyperV.guestOSID)
            try coder.field("env.msr_hv_hypercall", &hyperV.hypercall)
        }
        try coder.subsection(
            "cpu/msr_hyperv_vapic", field: "env.msr_hv_vapic", &hyperV.vapic, isNeeded: hyperV.vapic != 0)
        try coder.subsection(
            "cpu/msr_hyperv_time", field: "env.msr_hv_tsc", &hyperV.referenceTSC,
            isNeeded: hyperV.referenceTSC != 0)
        let hasCrashed = hyperV.crashParameters.contains { $0 != 0 }
        try coder.subsection("cpu/msr_hyperv_crash", isNeeded: hasCrashed) { coder throws(StateError) in
            try coder.field("env.msr_hv_crash_params", &hyperV.crashParameters, count: 5)
        }
        try coder.subsection(
            "cpu/msr_hyperv_runtime", field: "env.msr_hv_runtime", &hyperV.runtime, isNeeded: hyperV.runtime != 0)
        let hasSynic =
            hyperV.synicControl != 0 || hyperV.synicEventPage != 0 || hyperV.synicMessagePage != 0
            || hyperV.synicSources.contains { $0 != 0 }
        try coder.subsection("cpu/msr_hyperv_synic", isNeeded: hasSynic) { coder throws(StateError) in
            try coder.field("env.msr_hv_synic_control", &hyperV.synicControl)
            try coder.field("env.msr_hv_synic_evt_page", &hyperV.synicEventPage)
            try coder.field("env.msr_hv_synic_msg_page", &hyperV.synicMessagePage)
            try coder.field("env.msr_hv_synic_sint", &hyperV.synicSources, count: 16)
        }
        let hasTimers = hyperV.timerConfigurations.contains { $0 != 0 } || hyperV.timerCounts.contains { $0 != 0 }
        try coder.subsection("cpu/msr_hyperv_stimer", isNeeded: hasTimers) { coder throws(StateError) in
            try coder.field("env.msr_hv_stimer_config", &hyperV.timerConfigurations, count: 4)
            try coder.field("env.msr_hv_stimer_count", &hyperV.timerCounts, count: 4)
        }
        let hasReenlightenment =
            hyperV.reenlightenmentControl != 0 || hyperV.tscEmulationControl != 0 || hyperV.tscEmulationStatus != 0
        try coder.subsection("cpu/msr_hyperv_reenlightenment", isNeeded: hasReenlightenment) {
            coder throws(StateError) in
            try coder.field("env.msr_hv_reenlightenment_control", &hyperV.reenlightenmentControl)
            try coder.field("env.msr_hv_tsc_emulation_control", &hyperV.tscEmulationControl)
            try coder.field("env.msr_hv_tsc_emulation_status", &hyperV.tscEmulationStatus)
        }
    }
}
