internal import MigrationStream

/// Places in the clock's memory.
enum ClockRegister {
    static let a = 0x0A
    static let b = 0x0B
    static let c = 0x0C
    static let d = 0x0D
    static let century = 0x32
}

enum ClockControl {
    static let is24Hour: UInt8 = 0x02
    static let isBinary: UInt8 = 0x04
    static let squareWave: UInt8 = 0x08
    static let updateInterrupt: UInt8 = 0x10
    static let alarmInterrupt: UInt8 = 0x20
    static let periodicInterrupt: UInt8 = 0x40
    static let set: UInt8 = 0x80
    static let interrupts: UInt8 = 0x70
}

enum ClockFlag {
    static let update: UInt8 = 0x10
    static let alarm: UInt8 = 0x20
    static let periodic: UInt8 = 0x40
    static let interrupt: UInt8 = 0x80
}

/// The time of day in the clock's registers.
extension RTCState {
    static let timeRegisters: Set<Int> = [0, 2, 4, 6, 7, 8, 9, ClockRegister.century]

    /// The guest's time of day at `time` of the driving clock: nanoseconds since 1970.
    func nanoseconds(at time: Int64) -> Int64 {
        max(0, Int64(clamping: baseTime) &* 1_000_000_000 &+ time &- Int64(clamping: lastUpdate) &+ offset)
    }

    /// Sets the registers to the guest's time of day.
    mutating func storeTime(at time: Int64) {
        let date = CalendarTime(secondsSince1970: nanoseconds(at: time) / 1_000_000_000)
        memory[0] = encode(date.second)
        memory[2] = encode(date.minute)
        memory[4] = encode(hour: date.hour)
        memory[6] = encode(date.weekday)
        memory[7] = encode(date.day)
        memory[8] = encode(date.month)
        memory[9] = encode(date.year % 100)
        memory[ClockRegister.century] = encode(date.year / 100)
    }

    /// Lets the guest's time of day go on from what the registers say.
    mutating func loadTime(at time: Int64) {
        let date = CalendarTime(
            year: decode(memory[9]) + 100 * decode(memory[ClockRegister.century]), month: decode(memory[8]),
            day: decode(memory[7]), hour: decodeHour(memory[4]), minute: decode(memory[2]), second: decode(memory[0]))
        baseTime = UInt64(max(0, date.secondsSince1970))
        lastUpdate = UInt64(max(0, time))
        offset = 0
    }

    /// Whether the alarm goes off at a second since 1970; 0xC0 and above in a register is any.
    func alarmMatches(_ second: Int64) -> Bool {
        let date = CalendarTime(secondsSince1970: second)
        func matches(_ register: Int, _ value: Int, _ decoded: Int) -> Bool {
            memory[register] & 0xC0 == 0xC0 || decoded == value
        }
        return matches(1, date.second, decode(memory[1])) && matches(3, date.minute, decode(memory[3]))
            && matches(5, date.hour, decodeHour(memory[5]))
    }

    /// Ticks of the 32768 Hz crystal between two periodic interrupts, 0 for none.
    var periodTickCount: Int {
        let rate = Int(memory[ClockRegister.a] & 0x0F)
        guard rate != 0, memory[ClockRegister.a] & 0x70 <= 0x20 else { return 0 }
        // The two fastest settings are those of 7 and 8.
        return 1 << ((rate <= 2 ? rate + 7 : rate) - 1)
    }

    var periodNanoseconds: Int64? {
        periodTickCount == 0 ? nil : Int64(periodTickCount) * 1_000_000_000 / 32768
    }

    private func encode(_ value: Int) -> UInt8 {
        let value = UInt8(truncatingIfNeeded: value)
        return memory[ClockRegister.b] & ClockControl.isBinary != 0 ? value : (value / 10) << 4 | value % 10
    }

    private func decode(_ value: UInt8) -> Int {
        Int(memory[ClockRegister.b] & ClockControl.isBinary != 0 ? value : (value >> 4) * 10 + value & 0x0F)
    }

    /// Twelve hours run 12, 1 ... 11, with bit 7 after noon.
    private func encode(hour: Int) -> UInt8 {
        if memory[ClockRegister.b] & ClockControl.is24Hour != 0 { return encode(hour) }
        return encode(hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0)
    }

    private func decodeHour(_ value: UInt8) -> Int {
        if memory[ClockRegister.b] & ClockControl.is24Hour != 0 { return decode(value) }
        return decode(value & 0x7F) % 12 + (value & 0x80 != 0 ? 12 : 0)
    }
}

/// A date and time of the Gregorian calendar, UTC.
struct CalendarTime: Equatable {
    var year: Int
    /// 1 to 12, 1 to 31.
    var month: Int
    var day: Int
    var hour: Int
    var minute: Int
    var second: Int

    /// 1 Sunday to 7 Saturday.
    var weekday: Int {
        let days = secondsSince1970 / 86400
        return Int((days + 4) % 7) + 1  // 1970 began on a Thursday
    }

    /// Days are counted from 1 March of year 0, so that leap days come last in a year.
    var secondsSince1970: Int64 {
        let shifted = month > 2 ? year : year - 1
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + dayOfYear - 719_468
        return Int64(days) * 86400 + Int64(hour * 3600 + minute * 60 + second)
    }

    init(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
        self.year = year
        self.month = month
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
    }

    /// - Parameter seconds: not before 1970.
    init(secondsSince1970 seconds: Int64) {
        let days = Int(seconds / 86400) + 719_468
        let era = days / 146_097
        let dayOfEra = days % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * monthIndex + 2) / 5 + 1
        month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
        let rest = Int(seconds % 86400)
        (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60)
    }
}
