import MigrationStream
import Testing

/// Sections as bytes with a word for each field, so that the format can be checked by eye.
@Suite("Golden device state") struct GoldenStateTests {
    @Test func `kvmclock of a running guest`() throws {
        let payload = hexadecimalBytes(
            """
            000000004f310a51                                        // clock in ns
            05 1a 6b766d636c6f636b2f636c6f636b5f69735f72656c6961626c65  // subsection kvmclock/clock_is_reliable
            00000001                                                // its version
            01                                                      // clock_is_reliable
            """)
        var clock = KVMClockState()
        try clock.load(payload, version: 1)
        #expect(clock.clock == 1_328_613_969)
        #expect(clock.isReliable == true)
        #expect(clock.encoded() == payload)
        clock.isReliable = nil
        #expect(clock.encoded() == Array(payload.prefix(8)))
    }

    @Test func `timer with the clock at 2 seconds`() throws {
        var timer = TimerState()
        timer.ticksOffset = 0x0102_0304
        timer.clockOffset = 2_000_000_000
        let saved = timer.save()
        #expect(
            saved.bytes
                == hexadecimalBytes(
                    """
                    0000000001020304  // cpu_ticks_offset
                    00*8              // unused
                    0000000077359400  // cpu_clock_offset
                    """))
        #expect(
            JSONValue.object([
                .init("fields", .array(saved.structure.fields.map { .string("\($0.name) \($0.type) \($0.byteCount)") }))
            ]).text
                == #"{"fields": ["cpu_ticks_offset int64 8", "unused unused_buffer 8", "cpu_clock_offset int64 8"]}"#)
    }

    @Test func `apic of a processor that waits to be started`() throws {
        var apic = LocalAPICState()
        apic.base = 0xFEE0_0800
        apic.id = 1
        apic.localVectors[3] = 0x8700
        apic.waitsForStartup = 1
        #expect(
            apic.encoded()
                == hexadecimalBytes(
                    """
                    fee00800 01 00 00        // apicbase, id, arb_id, tpr
                    000000ff 00 0f           // spurious_vec, log_dest, dest_mode
                    00*32 00*32 00*32        // isr, tmr, irr
                    00010000 00010000 00010000 00008700 00010000 00010000  // lvt
                    00000000                 // esr
                    0000000000000000         // icr
                    00000000 00000000 00000000  // divide_conf, count_shift, initial_count
                    00*8 00*8                // initial_count_load_time, next_time
                    ff*8                     // timer_expiry
                    05 09 617069635f73697069 00000001  // subsection apic_sipi, version 1
                    00000000 00000001        // sipi_vector, wait_for_sipi
                    """))
    }

    @Test func `serial port with a byte received and a timer pending`() throws {
        var serial = SerialState()
        serial.port.interruptEnable = 1
        serial.port.lineStatus = 0x61
        serial.port.fifoControl = 1
        serial.port.receiveQueue.ring[0] = 0x41
        serial.port.receiveQueue.count = 1
        serial.port.receiveTimeoutTimer = 0x1122
        let payload = hexadecimalBytes(
            """
            000c 00 01 01 00 08 61 b0 00 01  // divider rbr ier iir lcr mcr lsr msr scr fcr
            05 10 73657269616c2f726563765f6669666f 00000001  // serial/recv_fifo
            41 00*15 00000000 00000001       // data, head, num
            05 19 73657269616c2f6669666f5f74696d656f75745f74696d6572 00000001  // serial/fifo_timeout_timer
            0000000000001122                 // expiry in ns
            """)
        #expect(serial.encoded() == payload)
        var loaded = SerialState()
        try loaded.load(payload, version: 3)
        #expect(loaded == serial)
    }

    @Test func `virtio-rng behind a legacy transport`() throws {
        let payload = hexadecimalBytes(
            """
            00000000 00000000 0000000c  // host_features_sel, guest_features_sel, guest_page_shift
            07 01 0000                  // status, isr, queue_sel
            30000000                    // guest_features, low half
            00000000                    // config_len
            00000001                    // nvqs
            00000008 00001000 000000000b1c2000 0009  // num, align, desc, last_avail_idx
            05 15 76697274696f2f36346269745f6665617475726573 00000001  // virtio/64bit_features
            0000000030000000            // guest_features
            05 0e 76697274696f2f73746172746564 00000001 01  // virtio/started
            """)
        var entropy = VirtioEntropyState()
        try entropy.load(payload, version: 1)
        #expect(entropy.virtio.queueCount == 1)
        #expect(entropy.virtio.queues[0].descriptorTable == 0x0B1C_2000)
        #expect(entropy.virtio.queues[0].lastAvailableIndex == 9)
        #expect(entropy.virtio.isStarted)
        #expect(entropy.virtio.parts == .legacy)
        #expect(entropy.encoded() == payload)
        #expect(
            entropy.save().structure.fields == [
                FieldDescription(name: "virtio", type: "virtio", byteCount: payload.count)
            ])
    }

    @Test(arguments: ["running", "paused", "prelaunch"])
    func `globalstate in both layouts takes 104 bytes`(word: String) throws {
        var state = GlobalState()
        state.runState = word
        #expect(
            state.encoded()
                == [0, 0, 0, UInt8(word.utf8.count + 1)] + Array(word.utf8)
                + [UInt8](repeating: 0, count: 100 - word.utf8.count))
        state.layout = .wordAndSuspension
        state.wasSuspended = true
        #expect(state.byteCount == 104)
        #expect(Array(state.encoded()[36...37]) == [1, 1])
        var loaded = GlobalState()
        try loaded.load(state.encoded(), version: 1)
        #expect(loaded == state)
    }
}
