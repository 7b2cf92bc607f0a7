internal import MigrationStream

/// The floating-point and vector registers between KVM's XSAVE area and QEMU's fields.
extension CPUState {
    /// Takes the registers out of an XSAVE area.
    mutating func setVectorState(fromXSave area: [UInt8], layout: XSaveLayout) {
        floatingPoint.control = area.load(UInt16.self, at: XSaveLayout.controlWord)
        floatingPoint.status = area.load(UInt16.self, at: XSaveLayout.statusWord)
        floatingPoint.tags = UInt16(area.load(UInt8.self, at: XSaveLayout.tagWord))
        extra.floatingPointLast.opcode = area.load(UInt16.self, at: XSaveLayout.opcode)
        extra.floatingPointLast.instructionPointer = area.load(UInt64.self, at: XSaveLayout.instructionPointer)
        extra.floatingPointLast.dataPointer = area.load(UInt64.self, at: XSaveLayout.dataPointer)
        mxcsr = area.load(UInt32.self, at: XSaveLayout.mxcsr)
        for index in 0..<8 {
            let offset = XSaveLayout.x87Registers + 16 * index
            floatingPoint.registers[index].mantissa = area.load(UInt64.self, at: offset)
            floatingPoint.registers[index].exponent = area.load(UInt16.self, at: offset + 8)
        }
        for index in 0..<16 {
            let offset = XSaveLayout.xmmRegisters + 16 * index
            xmm[index] = CPUVector128(
                low: area.load(UInt64.self, at: offset), high: area.load(UInt64.self, at: offset + 8))
        }
        xstateBV = area.load(UInt64.self, at: XSaveLayout.stateBits)
        if let start = layout.offset(of: .avx, in: area.count) {
            for index in 0..<16 {
                ymmHigh[index] = CPUVectorHigh128(
                    low: area.load(UInt64.self, at: start + 16 * index),
                    high: area.load(UInt64.self, at: start + 16 * index + 8))
            }
        }
        setExtendedVectorState(fromXSave: area, layout: layout)
    }

    private mutating func setExtendedVectorState(fromXSave area: [UInt8], layout: XSaveLayout) {
        if let start = layout.offset(of: .boundRegisters, in: area.count) {
            for index in 0..<4 {
                extra.bounds.registers[index].lower = area.load(UInt64.self, at: start + 16 * index)
                extra.bounds.registers[index].upper = area.load(UInt64.self, at: start + 16 * index + 8)
            }
        }
        if let start = layout.offset(of: .boundControl, in: area.count) {
            extra.bounds.userConfiguration = area.load(UInt64.self, at: start)
            extra.bounds.status = area.load(UInt64.self, at: start + 8)
        }
        if let start = layout.offset(of: .opmask, in: area.count) {
            for index in 0..<8 { extra.avx512.masks[index] = area.load(UInt64.self, at: start + 8 * index) }
        }
        if let start = layout.offset(of: .zmmHigh, in: area.count) {
            for index in 0..<16 {
                for word in 0..<4 {
                    extra.avx512.high[index].words[word] = area.load(UInt64.self, at: start + 32 * index + 8 * word)
                }
            }
        }
        if let start = layout.offset(of: .zmmUpper, in: area.count) {
            for index in 0..<16 {
                for word in 0..<8 {
                    extra.avx512.upper[index].words[word] = area.load(UInt64.self, at: start + 64 * index + 8 * word)
                }
            }
        }
        if let start = layout.offset(of: .protectionKeys, in: area.count) {
            extra.pkru = area.load(UInt32.self, at: start)
        }
        if let configuration = layout.offset(of: .tileConfiguration, in: area.count),
            let data = layout.offset(of: .tileData, in: area.count)
        {
            var amx = CPUAMX()
            amx.configuration = Array(area[configuration..<configuration + amx.configuration.count])
            amx.data = Array(area[data..<data + amx.data.count])
            // QEMU sends it for every guest that has the feature; one that never used it has nothing to lose.
            extra.amx = amx == CPUAMX() ? nil : amx
        }
    }

    /// Puts the registers into an XSAVE area, a fresh one of this host.
    ///
    /// - Returns: the parts that hold something and have no place on this host.
    func storeVectorState(inXSave area: inout [UInt8], layout: XSaveLayout) -> [String] {
        area.store(floatingPoint.control, at: XSaveLayout.controlWord)
        area.store(floatingPoint.status, at: XSaveLayout.statusWord)
        area.store(UInt8(truncatingIfNeeded: floatingPoint.tags), at: XSaveLayout.tagWord)
        area.store(extra.floatingPointLast.opcode, at: XSaveLayout.opcode)
        area.store(extra.floatingPointLast.instructionPointer, at: XSaveLayout.instructionPointer)
        area.store(extra.floatingPointLast.dataPointer, at: XSaveLayout.dataPointer)
        area.store(mxcsr, at: XSaveLayout.mxcsr)
        for (index, register) in floatingPoint.registers.enumerated() {
            area.store(register.mantissa, at: XSaveLayout.x87Registers + 16 * index)
            area.store(register.exponent, at: XSaveLayout.x87Registers + 16 * index + 8)
        }
        for (index, register) in xmm.enumerated() {
            area.store(register.low, at: XSaveLayout.xmmRegisters + 16 * index)
            area.store(register.high, at: XSaveLayout.xmmRegisters + 16 * index + 8)
        }
        area.store(xstateBV, at: XSaveLayout.stateBits)
        var homeless: [String] = []
        if let start = layout.offset(of: .avx, in: area.count) {
            for (index, register) in ymmHigh.enumerated() {
                area.store(register.low, at: start + 16 * index)
                area.store(register.high, at: start + 16 * index + 8)
            }
        } else if ymmHigh.contains(where: { $0 != CPUVectorHigh128() }) {
            homeless.append("AVX")
        }
        storeExtendedVectorState(inXSave: &area, layout: layout, homeless: &homeless)
        return homeless
    }

    private func storeExtendedVectorState(inXSave area: inout [UInt8], layout: XSaveLayout, homeless: inout [String]) {
        if let registers = layout.offset(of: .boundRegisters, in: area.count),
            let control = layout.offset(of: .boundControl, in: area.count)
        {
            for (index, bound) in extra.bounds.registers.enumerated() {
                area.store(bound.lower, at: registers + 16 * index)
                area.store(bound.upper, at: registers + 16 * index + 8)
            }
            area.store(extra.bounds.userConfiguration, at: control)
            area.store(extra.bounds.status, at: control + 8)
        } else if extra.bounds.hasContent {
            homeless.append("MPX")
        }
        if let masks = layout.offset(of: .opmask, in: area.count),
            let high = layout.offset(of: .zmmHigh, in: area.count),
            let upper = layout.offset(of: .zmmUpper, in: area.count)
        {
            for (index, mask) in extra.avx512.masks.enumerated() { area.store(mask, at: masks + 8 * index) }
            for (index, register) in extra.avx512.high.enumerated() {
                for word in 0..<4 { area.store(register.words[word], at: high + 32 * index + 8 * word) }
            }
            for (index, register) in extra.avx512.upper.enumerated() {
                for word in 0..<8 { area.store(register.words[word], at: upper + 64 * index + 8 * word) }
            }
        } else if extra.avx512 != CPUAVX512() {
            homeless.append("AVX-512")
        }
        if let start = layout.offset(of: .protectionKeys, in: area.count) {
            area.store(extra.pkru, at: start)
        } else if extra.pkru != 0 {
            homeless.append("protection keys")
        }
        guard let amx = extra.amx else { return }
        if let configuration = layout.offset(of: .tileConfiguration, in: area.count),
            let data = layout.offset(of: .tileData, in: area.count)
        {
            area.replaceSubrange(configuration..<configuration + amx.configuration.count, with: amx.configuration)
            area.replaceSubrange(data..<data + amx.data.count, with: amx.data)
        } else if amx != CPUAMX() {
            homeless.append("AMX")
        }
    }
}

extension CPUBounds {
    fileprivate var hasContent: Bool {
        userConfiguration != 0 || status != 0 || registers.contains { $0.lower != 0 || $0.upper != 0 }
    }
}
